"""CIFAR-10 and CIFAR-100, from the same archives as torchvision, verified by MD5.

Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images". The files are pickles,
which can execute code: each is verified before it is unpickled.
"""

import hashlib
import io
import pickle
import tarfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from engine.data.download import download, file_md5
from engine.data.progress import Watch, hold
from engine.data.types import IMAGE_SIZE, ImageData
from engine.errors import DataError
from engine.files import write_atomic

MAX_MEMBER_BYTES = 200 * 2**20  # the largest file, CIFAR-100's train, has 155 MB

Files = dict[str, bytes]


@dataclass(frozen=True)
class Cifar:
    """One of the two archives. MD5s and names as in torchvision.datasets (a test compares)."""

    name: str
    title: str
    url: str
    archive: str  # file name under the root
    md5: str
    folder: str  # inside the archive, and under the root once unpacked
    train: dict[str, str]  # file name: MD5
    test: dict[str, str]
    meta: dict[str, str]
    label_key: str
    classes_key: str
    mean: tuple[float, float, float]  # of pixels in 0..1 over the training images
    std: tuple[float, float, float]

    @property
    def files(self) -> dict[str, str]:
        return self.train | self.test | self.meta


CIFAR10 = Cifar(
    name="cifar10",
    title="CIFAR-10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    archive="cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    folder="cifar-10-batches-py",
    train={
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    },
    test={"test_batch": "40351d587109b95175f43aff81a1287e"},
    meta={"batches.meta": "5ff9c542aee3614f3951f8cda6e48888"},
    label_key="labels",
    classes_key="label_names",
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
)
CIFAR100 = Cifar(
    name="cifar100",
    title="CIFAR-100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
    archive="cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    folder="cifar-100-python",
    train={"train": "16019d7e3df5f24257cddd939b257f8d"},
    test={"test": "f0ef6b0ae62326f3e7ffdfab6717acfc"},
    meta={"meta": "7973b15100ade9c7d40fb424638fde48"},
    label_key="fine_labels",
    classes_key="fine_label_names",
    mean=(0.5071, 0.4865, 0.4409),
    std=(0.2673, 0.2564, 0.2762),
)


def load(cifar: Cifar, root: Path, url: str | None, watch: Watch) -> ImageData:
    """Load from the extracted folder or the archive under `root`, else download the archive.

    url: mirror of the archive; None: cifar.url. Raises Cancelled, or DataError, which says how to
    continue, if it is missing and cannot be downloaded.
    """
    files = _from_folder(cifar, root, watch)
    if files is None:
        files = _from_archive(cifar, root, url or cifar.url, watch)
    watch.tick(f"decoding {cifar.title}")
    classes = tuple(_unpickle(files.pop(next(iter(cifar.meta))))[cifar.classes_key])
    train_images, train_labels = decode(cifar, [files.pop(name) for name in cifar.train])
    test_images, test_labels = decode(cifar, [files.pop(name) for name in cifar.test])
    return ImageData(
        cifar.name,
        classes,
        cifar.mean,
        cifar.std,
        train_images,
        train_labels,
        test_images,
        test_labels,
    )


def is_available(cifar: Cifar, root: Path) -> bool:
    """Whether the folder or the archive under `root` is complete; the hashes are cached."""
    folder = root / cifar.folder
    checks = [(folder / name, md5) for name, md5 in cifar.files.items()]
    return all(_matches(*check) for check in checks) or _matches(root / cifar.archive, cifar.md5)


def _matches(path: Path, md5: str) -> bool:
    try:
        about = path.stat()
        return _cached_md5(path, about.st_size, about.st_mtime_ns) == md5
    except OSError:
        return False


@lru_cache(maxsize=64)
def _cached_md5(path: Path, size: int, mtime_ns: int) -> str:
    """MD5 of a file, computed once per size and time: pages check at every rerun."""
    return file_md5(path)


def _from_folder(cifar: Cifar, root: Path, watch: Watch) -> Files | None:
    files: Files = {}
    for count, (name, md5) in enumerate(cifar.files.items()):
        watch.tick(f"reading {cifar.title}", count, len(cifar.files), "files")
        try:
            content = (root / cifar.folder / name).read_bytes()
        except OSError:
            return None
        if _md5(content) != md5:
            return None
        files[name] = content
    return files


def _from_archive(cifar: Cifar, root: Path, url: str, watch: Watch) -> Files:
    path = root / cifar.archive
    try:
        root.mkdir(parents=True, exist_ok=True)
        with hold(root / f"{cifar.archive}.lock", watch, "waiting for another download"):
            watch.tick(f"checking {cifar.archive}")
            if not _matches(path, cifar.md5):
                _fetch(cifar, url, path, watch)
            files = _unpack(cifar, path, watch)
            for name, content in files.items():  # faster to read than the archive
                (root / cifar.folder).mkdir(exist_ok=True)
                write_atomic(root / cifar.folder / name, content)
    except OSError as error:
        raise DataError(
            f"{cifar.title} cannot be kept under {root} ({error.strerror or error}): "
            "free some space or choose another data folder"
        ) from error
    return files


def _fetch(cifar: Cifar, url: str, path: Path, watch: Watch) -> None:
    damaged = f"the {cifar.archive} there is damaged, and " if path.exists() else ""
    try:
        download(url, path, cifar.md5, watch)
    except DataError as error:
        raise DataError(
            f"{cifar.title} is not under {path.parent}: {damaged}{error}. Put {cifar.archive} "
            f"under {path.parent}, or use the built-in data set (--dataset shapes)"
        ) from error


def _unpack(cifar: Cifar, path: Path, watch: Watch) -> Files:
    """Read the known files of the archive into memory; other members are ignored."""
    wanted = {f"{cifar.folder}/{name}": name for name in cifar.files}
    files: Files = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                watch.tick(f"unpacking {cifar.archive}", len(files), len(wanted), "files")
                name = wanted.get(member.name)
                if name is not None and member.isfile() and member.size <= MAX_MEMBER_BYTES:
                    files[name] = archive.extractfile(member).read()
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise DataError(f"{path}: damaged archive ({error}); remove it") from error
    if bad := [name for name, md5 in cifar.files.items() if _md5(files.get(name, b"")) != md5]:
        raise DataError(f"{path}: not the known archive, {', '.join(bad)} differ; remove it")
    return files


def decode(cifar: Cifar, files: list[bytes]) -> tuple[torch.Tensor, torch.Tensor]:
    """Images uint8 [N, 3, 32, 32] and labels int64 [N] of pickled batches.

    Unpickling executes code: pass only files whose MD5 has been verified.
    """
    batches = [_unpickle(content) for content in files]
    pixels = np.concatenate([batch["data"] for batch in batches])
    labels = [label for batch in batches for label in batch[cifar.label_key]]
    images = torch.from_numpy(pixels).reshape(-1, 3, IMAGE_SIZE, IMAGE_SIZE)
    return images, torch.tensor(labels, dtype=torch.int64)


def _unpickle(content: bytes) -> dict:
    """Unpickle verified content, written by Python 2, hence the encoding."""
    return pickle.load(io.BytesIO(content), encoding="latin1")


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
