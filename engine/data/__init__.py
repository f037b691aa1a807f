"""Data sets: CIFAR-10, CIFAR-100, the built-in shapes, and class folders of the user."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.data import cifar, folder, listing, shapes
from engine.data.fingerprint import with_fingerprint
from engine.data.progress import Progress, Watch
from engine.data.types import DatasetSpec, ImageData
from engine.errors import DataError, DataMissing
from engine.files import expand_user, kind_of

__all__ = [
    "DATASETS",
    "DatasetSpec",
    "ImageData",
    "Progress",
    "is_available",
    "is_watched",
    "load",
    "name_of",
    "own_path",
    "version",
]

DATASETS: dict[str, DatasetSpec] = {
    "cifar10": DatasetSpec(
        title="CIFAR-10",
        description="60,000 photographs, 32×32, of 10 classes; downloaded once (170 MB)",
        sizes=(50_000, 10_000),
        num_classes=10,
        load=lambda root, url, watch: cifar.load(cifar.CIFAR10, root, url, watch),
        is_available=lambda root: cifar.is_available(cifar.CIFAR10, root),
        download_mb=170,
    ),
    "cifar100": DatasetSpec(
        title="CIFAR-100",
        description="60,000 photographs, 32×32, of 100 classes; downloaded once (169 MB)",
        sizes=(50_000, 10_000),
        num_classes=100,
        load=lambda root, url, watch: cifar.load(cifar.CIFAR100, root, url, watch),
        is_available=lambda root: cifar.is_available(cifar.CIFAR100, root),
        download_mb=169,
    ),
    "shapes": DatasetSpec(
        title="Shapes (built in)",
        description="24,000 drawn images, 32×32, of 10 figures; made here in seconds, no download",
        sizes=(shapes.TRAIN_COUNT, shapes.TEST_COUNT),
        num_classes=len(shapes.CLASSES),
        load=lambda root, url, watch: shapes.load(root, watch),
        is_available=lambda root: True,
    ),
}

UNWATCHED = -1  # in a version; no hash has this value
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|[\\/]{2}")  # of a website or another computer
SYSTEM = re.compile(r"/(?:proc|sys|dev(?!/shm/))(?:/|$)")  # /dev/shm holds files, in memory


def load(
    dataset: str,
    root: Path,
    *,
    fit: str = "crop",
    url: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> ImageData:
    """Load a data set by its key in DATASETS, or by the path of a folder or zip of class folders.

    root: folder for archives and decoded images. fit: "crop" or "pad", for images of the user that
    are not square (see data.images.to_square). url: mirror of the CIFAR archive, used only if a
    download is needed. progress is called at most ten times a second, cancelled at least as often,
    both in the calling thread.

    Raises DataError, one line that says what to do, or Cancelled.
    """
    root, watch = expand_user(root), Watch(progress, cancelled)
    if (spec := DATASETS.get(dataset)) is not None:
        named = with_fingerprint(spec.load(root, url, watch))
        if fit != "crop":
            return replace(named, warnings=(f"--fit {fit} has no effect on images of 32×32",))
        return named
    # A cached zip may have had another name.
    own = replace(folder.load(own_path(dataset), root, watch, fit), name=name_of(dataset))
    return with_fingerprint(own)


def is_available(dataset: str, root: Path) -> bool:
    """Whether `load` would succeed without a download."""
    if (spec := DATASETS.get(dataset)) is not None:
        return spec.is_available(expand_user(root))
    try:
        own_path(dataset)
    except DataError:
        return False
    return True


def name_of(dataset: str) -> str:
    """The name of a data set as it is shown: its key, or the name of the folder or zip.

    The whole name of a folder, such as pets-1.1; that of a zip without its extension. One that has
    the name of a data set of DATASETS is told apart from it: "cifar10 (own images)".
    """
    if dataset in DATASETS:
        return dataset
    path = Path(dataset)
    if path.name in ("", "..", "~"):
        path = path.expanduser().resolve()
    name = path.name
    name = name[:-4] if name.lower().endswith(".zip") else name
    return f"{name} (own images)" if name.lower() in DATASETS else name


def version(dataset: str) -> tuple[int, ...]:
    """A value that changes when a zip file or the files of a folder change; valid in this process.

    Modification times (ns) and sizes of the zip, or of all files of the folder: a picture may be
    overwritten in place. () for a data set of DATASETS, and for a path that cannot be read. Only
    the time and size of the folder itself, and UNWATCHED, where looking at its files takes too long
    to be repeated (see engine.data.listing).
    """
    if dataset in DATASETS:
        return ()
    try:
        path = own_path(dataset)
        about = path.stat()
        state = listing.folder_state(path) if path.is_dir() else 0
    except (DataError, OSError):
        return ()
    return about.st_mtime_ns, about.st_size, UNWATCHED if state is None else state


def is_watched(version: tuple[int, ...]) -> bool:
    """Whether `version` notices files that change in a folder."""
    return version[-1:] != (UNWATCHED,)


def own_path(dataset: str) -> Path:
    """The folder or zip of a user, its `~` expanded.

    Raises DataError if there is none: also for a device, pipe or socket, which may block or have no
    end, for what the system makes up (/proc), and for an address in a network.
    """
    if ADDRESS.match(dataset):
        raise DataError(f"{dataset[:90]!r} is an address; give the path of a folder or zip")
    try:
        path = expand_user(dataset)
        about = path.stat() if dataset.strip() else None
        real = os.path.realpath(path)
    except (OSError, ValueError):  # nothing, a NUL, or too long
        about = None
    if about is None:
        raise DataMissing(
            f"no data set {dataset[:200]!r}: known are {', '.join(DATASETS)}, "
            "or give the path of a folder or zip with class folders"
        )
    kind = kind_of(about)
    if kind not in ("file", "folder") or SYSTEM.match(real):
        kind = "part of the system" if kind in ("file", "folder") else f"a {kind}"
        raise DataError(f"{dataset[:200]!r} is {kind}; give the path of a folder or zip")
    return path
