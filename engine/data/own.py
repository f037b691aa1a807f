"""Sets of the user's own images, kept as class folders: `<data root>/own/<name>/`.

`check` decodes an upload in memory, by the rules for a path, and tells what was found; `keep`
writes its images to a temporary folder and renames it. The set is then a data set like any other
folder, with a fixed split: `train/<class>/…` and `test/<class>/…`.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

from filelock import FileLock

from engine import files
from engine.checks import RESERVED, check_name
from engine.data import cache, folder, layout
from engine.data.clutter import is_clutter
from engine.data.progress import Watch
from engine.data.types import ImageData
from engine.data.zips import MAX_ENTRIES, ZipImages
from engine.errors import ConfigError, DataError

FOLDER = "own"
MAX_BYTES = 500 * 2**20  # of an upload in all, which a browser session holds in memory
MAX_CLASS_CHARS = 60
FEW = 20  # training images of a class below which a warning is due
UNBALANCED = 3  # ratio of the largest class to the smallest above which a warning is due

Open = Callable[[], Any]  # opens an upload: a context manager of a folder.Source


class PictureFiles:
    """Pictures of each class as a folder.Source, with names such as "cat/007 IMG_1.jpg"."""

    def __init__(self, classes: Mapping[str, Sequence[tuple[str, bytes]]]):
        self.files: list[str] = []
        self.folders = list(classes)
        self.ignored: list[str] = []
        self.guessed: list[str] = []
        self._contents: dict[str, bytes] = {}
        for title, pictures in classes.items():
            for number, (name, content) in enumerate(pictures, start=1):
                base = PurePosixPath(name.replace("\\", "/")).name
                path = f"{title}/{number:03} {_file_name(base)}"
                (self.ignored if is_clutter(base) else self.files).append(path)
                self._contents[path] = content

    def read(self, name: str) -> bytes:
        return self._contents[name]


def open_zip(content: bytes, label: str) -> Open:
    """An uploaded zip of class folders. label: its name, for messages. Raises DataError."""
    _check_size(len(content))
    return lambda: ZipImages(BytesIO(content), label)


def open_files(classes: Mapping[str, Sequence[tuple[str, bytes]]]) -> Open:
    """Uploaded pictures: for each class (name, content). Raises DataError."""
    _check_size(sum(len(content) for pictures in classes.values() for _, content in pictures))
    for title in classes:
        check_class(title)

    @contextmanager
    def opened() -> Iterator[PictureFiles]:
        yield PictureFiles(classes)

    return opened


@dataclass(frozen=True)
class Checked:
    """An upload that can be kept: its images as the network will see them, and what is left out."""

    open: Open
    data: ImageData
    bad: dict[str, str]  # images that cannot be used, with the reason


def check(
    open_upload: Open,
    label: str,
    fit: str = "crop",
    *,
    progress: Callable | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Checked:
    """Decode an upload. Images that cannot be used are left out, if every class has others.

    label, fit: see engine.data.folder. Raises DataError, one line that says what to do, or
    Cancelled.
    """
    watch, bad = Watch(progress, cancelled), {}
    try:
        data = _decode(open_upload, bad, label, watch, fit)
    except folder.BadImages as error:
        bad = error.bad
        try:
            data = _decode(open_upload, bad, label, watch, fit)
        except DataError:  # a class is left without images: the reasons matter
            raise error from None
    for name in data.classes:
        check_class(name)
    lines = [f"left out, cannot be used: {name!r} ({reason})" for name, reason in bad.items()]
    if len(lines) > folder.NAMED:
        lines[folder.NAMED :] = [f"left out, cannot be used: {len(bad) - folder.NAMED:,} more"]
    warnings = (*lines, *data.warnings, *_balance(data.class_counts()))
    return Checked(open_upload, replace(data, warnings=warnings), bad)


def keep(
    checked: Checked,
    root: Path,
    name: str,
    *,
    progress: Callable | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Write the images of an upload to `<root>/own/<name>/`; the folder.

    The folder appears complete or not at all. Raises ConfigError for a name that cannot be used,
    DataError if it cannot be written, or Cancelled.
    """
    check_name(name)
    target = Path(root) / FOLDER / name
    staging = target.with_name(f".{name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        files.sweep(target.parent)
        _check_free(target)
        _write(checked, staging, name, Watch(progress, cancelled))
        with FileLock(target.with_name(".names.lock"), timeout=30):
            _check_free(target)
            files.replace(staging, target)
        files.sync_folder(target.parent)
    except OSError as error:
        why = files.reason(error)
        raise DataError(f"these images cannot be saved in {target.parent}: {why}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return target


def list_sets(root: Path) -> list[Path]:
    """The folders of all kept sets, by name."""
    try:
        found = [path for path in (Path(root) / FOLDER).iterdir() if path.is_dir()]
    except OSError:
        return []
    return sorted((path for path in found if _is_name(path.name)), key=lambda path: path.name)


def rename(path: Path, name: str) -> Path:
    """Rename a kept set; its new folder. Raises ConfigError or DataError."""
    check_name(name)
    target = path.with_name(name)
    try:
        with FileLock(path.with_name(".names.lock"), timeout=30):
            if name.lower() != path.name.lower():
                _check_free(target)
            files.replace(path, target)
    except OSError as error:
        raise DataError(f"{path.name!r} cannot be renamed: {files.reason(error)}") from error
    cache.forget(path.parents[1], path.name)
    return target


def delete(path: Path) -> None:
    """Delete a kept set, and its decoded images in the cache. Raises DataError if that fails."""
    trash = path.with_name(f".{path.name}.{os.getpid()}.trash")
    try:
        files.replace(path, trash)  # atomic; the removal itself may take long
    except OSError as error:
        raise DataError(f"{path.name!r} cannot be deleted: {files.reason(error)}") from error
    shutil.rmtree(trash, ignore_errors=True)
    cache.forget(path.parents[1], path.name)


def check_class(name: str) -> None:
    """Raise DataError unless a class can be a folder on every platform."""
    usable = name.isprintable() and 0 < len(name) <= MAX_CLASS_CHARS and name.strip(" .") == name
    if not usable or re.search(r'[<>:"/\\|?*]', name) or is_clutter(name) or _is_reserved(name):
        raise DataError(
            f"class {name[:MAX_CLASS_CHARS]!r}: choose another class name: up to {MAX_CLASS_CHARS} "
            'characters, none of < > : " / \\ | ? *, no space or dot at either end, no name that '
            "the system reserves"
        )


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(
            f"{size / 2**20:,.0f} MB of images, more than {MAX_BYTES >> 20} MB: put them into "
            "a folder on "
            "this computer and give its path"
        )


def _is_reserved(name: str) -> bool:
    return name.split(".", maxsplit=1)[0].lower() in RESERVED


def _decode(open_upload: Open, bad: Mapping[str, str], label: str, watch: Watch, fit: str):
    """The images of an upload without the bad ones."""
    with open_upload() as source:
        if len(source.files) > MAX_ENTRIES:
            raise DataError(f"{label}: {len(source.files)} files; the limit is {MAX_ENTRIES}")
        source.files = [name for name in source.files if name not in bad]
        return folder.decode(source, label, watch, fit)


def _write(checked: Checked, staging: Path, label: str, watch: Watch) -> None:
    with checked.open() as source:
        names = [name for name in source.files if name not in checked.bad]
        plan = layout.plan(names, source.folders, label)
        total, done = len(plan.train) + len(plan.test), 0
        for split, samples in (("train", plan.train), ("test", plan.test)):
            for number, (name, label_index) in enumerate(samples):
                watch.tick(f"saving {label}", done, total, "images")
                place = staging / split / plan.classes[label_index]
                place.mkdir(parents=True, exist_ok=True)
                # Numbered, so that names differ and keep their order, and with it the fingerprint.
                file = f"{number:06}-{_file_name(name)}"
                if is_clutter(file):
                    file = f"{number:06}{PurePosixPath(name).suffix.lower()}"
                (place / file).write_bytes(source.read(name))
                done += 1
    watch.tick(f"saving {label}", total, total, "images")
    if hasattr(os, "sync"):
        os.sync()  # all at once: after a power failure no file of a complete set is empty


def _file_name(name: str) -> str:
    """A name from outside as that of a file: the end of it, of harmless characters."""
    plain = re.sub(r"[^\w.-]+", "-", PurePosixPath(name).name)
    stem, dot, suffix = plain.rpartition(".")
    return f"{stem[-60:]}{dot}{suffix[:8]}"


def _balance(counts: list[tuple[str, int, int]]) -> list[str]:
    """Warnings of classes with few training images, or far fewer than others."""
    (least, few), (most, many) = (
        pick(((name, train) for name, train, _ in counts), key=lambda pair: pair[1])
        for pick in (min, max)
    )
    lines = []
    if scarce := [name for name, train, _ in counts if train < FEW]:
        lines.append(
            f"fewer than {FEW} training images of class {layout.some(scarce)}: add more if "
            "you can; "
            "fine-tuning a trained network needs fewest"
        )
    if many > UNBALANCED * few:
        lines.append(
            f"{many:,} training images of class {most!r}, but {few:,} of {least!r}: the network "
            "will lean towards the larger class"
        )
    return lines


def _check_free(target: Path) -> None:
    """Raise DataError if a set has the name, in any case: some file systems ignore case."""
    if any(path.name.lower() == target.name.lower() for path in target.parent.iterdir()):
        raise DataError(f"a data set named {target.name!r} already exists; choose another name")


def _is_name(name: str) -> bool:
    try:
        check_name(name)
    except ConfigError:
        return False
    return True
