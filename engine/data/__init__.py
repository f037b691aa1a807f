"""Data sets: CIFAR-10, CIFAR-100, the built-in shapes, and class folders of the user."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engine.data import cifar, folder, shapes
from engine.data.fingerprint import with_fingerprint
from engine.data.progress import Progress, Watch
from engine.data.types import DatasetSpec, ImageData
from engine.errors import DataError
from engine.files import expand_user

__all__ = [
    "DATASETS",
    "DatasetSpec",
    "ImageData",
    "Progress",
    "is_available",
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
    ),
    "cifar100": DatasetSpec(
        title="CIFAR-100",
        description="60,000 photographs, 32×32, of 100 classes; downloaded once (169 MB)",
        sizes=(50_000, 10_000),
        num_classes=100,
        load=lambda root, url, watch: cifar.load(cifar.CIFAR100, root, url, watch),
        is_available=lambda root: cifar.is_available(cifar.CIFAR100, root),
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
    """A value that changes when a zip file changes, or files in a folder are added or removed.

    Modification times (ns) and sizes of the zip, or of the folder and all folders below: adding or
    removing a file changes the time of its folder. () for a data set of DATASETS, and for a path
    that cannot be read.
    """
    if dataset in DATASETS:
        return ()
    try:
        path = own_path(dataset)
        folders = sorted(Path(folder) for folder, _, _ in os.walk(path))  # none for a zip
        stats = [each.stat() for each in (path, *folders)]
    except (DataError, OSError):
        return ()
    return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size))


def own_path(dataset: str) -> Path:
    """The folder or zip of a user, its `~` expanded. Raises DataError if there is none."""
    try:
        path = expand_user(dataset)
        if dataset.strip() and path.exists():
            return path
    except (OSError, ValueError):  # a NUL, or too long
        pass
    raise DataError(
        f"no data set {dataset!r}: known are {', '.join(DATASETS)}, "
        "or give the path of a folder or zip with class folders"
    )
