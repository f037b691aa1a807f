"""Which file is which image: from the names in a folder or zip to classes and a split."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

import torch

from engine.data import splits
from engine.errors import DataError
from engine.randomness import Purpose, keyed_generator

VERSION = 2  # of these rules; raise it when they change, so that caches are made again
TEST_SHARE = 0.2  # of each class, where the folders have no split of their own
SPLIT_SEED = 0
CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}  # what file managers leave; in lower case
# Files that count as images; notes, tables and licences beside them do not. The second line
# cannot be read here, but a person must hear that, rather than miss their images.
PICTURES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"}
PICTURES |= {".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".svg"}
NAMED = 5  # examples in a message
EXPECTED = "expected train/<class>/<image> and test/<class>/<image>, or <class>/<image>"

Parts = tuple[str, ...]  # a relative path, part by part
Sample = tuple[str, int]  # a file's name, "/" between its parts, and its class


@dataclass(frozen=True)
class Layout:
    """Class names, sorted, and the images of each split, sorted by name."""

    classes: tuple[str, ...]
    train: list[Sample]
    test: list[Sample]


def ignored(name: str) -> bool:
    """Whether any part of the name is hidden or left by a file manager."""
    return any(part.startswith(".") or part.lower() in CLUTTER for part in name.split("/"))


@dataclass(frozen=True)
class Folder:
    """The images and the known folders below one folder."""

    images: list[Parts]
    known: list[Parts]
    depth: int  # parts of its own path

    @cached_property
    def folders(self) -> dict[str, "Folder"]:
        """The folders inside, by name."""
        at = self.depth
        inside: dict[str, Folder] = {}
        for parts in self.known:
            # An empty class must be noticed, so a folder counts without any image.
            if len(parts) > at:
                inside.setdefault(parts[at], Folder([], [], at + 1)).known.append(parts)
        for parts in self.images:
            if len(parts) > at + 1:
                inside.setdefault(parts[at], Folder([], [], at + 1)).images.append(parts)
        return inside

    @property
    def has_loose(self) -> bool:
        """Whether there are images directly inside, which are in no class folder."""
        return any(len(parts) == self.depth + 1 for parts in self.images)

    @cached_property
    def named(self) -> dict[str, splits.SplitName]:
        """The folders inside that are named like splits of a data set."""
        names = [name for name in self.folders if splits.parse(name)]
        several = {n for n in names if len(_without_wrapper(n, self.folders[n]).folders) > 1}
        return splits.find(names, several)

    def groups(self) -> dict[str, list[str]]:
        """Names of the images below each folder inside."""
        return {
            name: ["/".join(parts) for parts in folder.images]
            for name, folder in self.folders.items()
        }


def plan(files: Iterable[str], folders: Iterable[str], label: str) -> Layout:
    """Read `train/<class>/…` and `test/<class>/…`, or `<class>/…`, off the files' names.

    Names are relative, with "/"; ignored ones are left out by the caller. `folders` are those
    known by themselves, perhaps empty. A common top-level folder is skipped. Splits may have any
    name that `splits.parse` reads. The test images are those of the test split, else those of the
    validation split, else a fifth of each class (seeded). Beside splits, other folders do not
    count. Raises DataError, which starts with `label` and names the folders at fault.
    """
    paths = [_parts(name) for name in files if PurePosixPath(name).suffix.lower() in PICTURES]
    top = _without_common(Folder(paths, [_parts(name) for name in folders], 0))
    train, test = _find_splits(top, label)
    if test is None:
        groups = train.groups()
        return _stratified(groups, _check(groups, label), label)
    train_groups, test_groups = train.groups(), test.groups()
    classes = _check(train_groups, label)
    _check_test(test_groups, classes, label)
    return Layout(classes, _samples(train_groups, classes), _samples(test_groups, classes))


def _parts(name: str) -> Parts:
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _without_common(folder: Folder) -> Folder:
    """Skip the leading folders that all images share; the class folders are never skipped."""
    while len(folder.folders) == 1:
        (inside,) = folder.folders.values()
        if not any(f.images for f in inside.folders.values()):
            break
        # A preview image beside a folder of splits is in no class; otherwise it may be in one.
        if (folder.has_loose or inside.has_loose) and len(inside.named) < 2:
            break
        folder = inside
    return folder


def _without_wrapper(name: str, folder: Folder) -> Folder:
    """Skip a lone folder inside a split's that repeats its name or only says "images"."""
    kind = splits.parse(name).kind
    while len(folder.folders) == 1:
        ((inner, inside),) = folder.folders.items()
        same = (split := splits.parse(inner)) is not None and split.kind == kind
        if not same and not splits.is_neutral(inner):
            break
        folder = inside
    return folder


def _find_splits(top: Folder, label: str) -> tuple[Folder, Folder | None]:
    """The folders that hold the class folders for training and, where there are any, for testing.

    Raises DataError where folders are named like splits but cannot be used as such.
    """
    named = top.named
    others = sorted(n for n, folder in top.folders.items() if n not in named and folder.images)
    inside = {name: _without_wrapper(name, top.folders[name]) for name in named}

    def with_classes(kind: str) -> list[str]:
        found = [n for n, split in named.items() if split.kind == kind and inside[n].folders]
        return [n for n in found if not named[n].rest] or found  # "test" before "hard_test"

    lone = next(iter(named)) if len(named) == 1 and others else None
    # A train is a vehicle, too: without class folders of its own it is one class among others.
    if not named or (lone and named[lone].common and len(inside[lone].folders) < 2):
        _refuse_misplaced_splits("", top, label)
        return top, None
    train = with_classes(splits.TRAIN)
    if lone or not train:
        raise DataError(f"{label}: {_why_no_splits(sorted(named), others)}; {EXPECTED}")
    measured: list[str] = []
    for kind in (splits.TEST, splits.VAL):
        measured = measured or with_classes(kind)
        found = [name for name, split in named.items() if split.kind == kind]
        if found and not measured and not any(top.folders[name].images for name in found):
            raise DataError(f"{label}: the test folder {found[0]!r} has no class folders")
    for names, purpose in ((train, "training"), (measured, "test")):
        if len(names) > 1:
            raise DataError(
                f"{label}: several folders of {purpose} images, {some(sorted(names))}; keep one "
                "of them or merge them"
            )
    if not measured:
        _refuse_misplaced_splits(train[0], inside[train[0]], label)
        return inside[train[0]], None
    return inside[train[0]], inside[measured[0]]


def _why_no_splits(named: list[str], others: list[str]) -> str:
    if len(named) == 1 and others:
        return (
            f"folder {named[0]!r} is named like a split, but {some(others)} beside it "
            f"{'is' if len(others) == 1 else 'are'} not; rename it if it is a class"
        )
    beside = f", beside {some(others)}" if others else ""
    return f"found {some(named)}, named like splits{beside}, but no training folder with classes"


def _refuse_misplaced_splits(name: str, folder: Folder, label: str) -> None:
    """Raise DataError where what would be classes are splits, hold splits, or are pieces."""
    inside = [(inner, _without_common(below)) for inner, below in folder.folders.items()]
    for place, below in [(name, folder), *inside]:
        kinds = {split.kind for split in below.named.values()}
        if splits.TRAIN in kinds and len(kinds) > 1:
            raise DataError(
                f"{label}: found {some(sorted(below.named))}, named like splits, inside {place!r}; "
                f"choose that folder alone or move the splits to the top; {EXPECTED}"
            )
    pieces = [n for n in splits.pieces(folder.folders) if len(folder.folders[n].folders) > 1]
    if len(pieces) > 1:
        raise DataError(
            f"{label}: {some(sorted(pieces))} look like pieces of one data set; merge their class "
            f"folders; {EXPECTED}"
        )


def _check(groups: dict[str, list[str]], label: str) -> tuple[str, ...]:
    """The sorted class names, once they can be told apart and trained on."""
    if not groups:
        raise DataError(f"{label}: no images found; {EXPECTED}")
    seen: dict[str, str] = {}
    for name in sorted(groups):
        # What a case-insensitive disk, or another form of the same accent, would merge.
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise DataError(
                f"{label}: classes {seen[key]!r} and {name!r} differ only by case; "
                "merge or rename them"
            )
        seen[key] = name
    if empty := [name for name in sorted(groups) if not groups[name]]:
        raise DataError(f"{label}: no images in class {some(empty)}; fill or remove the folder")
    if len(groups) == 1:
        raise DataError(f"{label}: only one class, {next(iter(groups))!r}; two or more are needed")
    return tuple(sorted(groups))


def _check_test(groups: dict[str, list[str]], classes: tuple[str, ...], label: str) -> None:
    if unknown := sorted(set(groups) - set(classes)):
        raise DataError(
            f"{label}: class {some(unknown)} of the test images is not among the training classes"
        )
    if empty := sorted(name for name in groups if not groups[name]):
        raise DataError(
            f"{label}: no test images in class {some(empty)}; fill or remove the folder"
        )
    if not groups:
        raise DataError(f"{label}: the test folder has no class folders")


def _stratified(groups: dict[str, list[str]], classes: tuple[str, ...], label: str) -> Layout:
    if few := [name for name in classes if len(groups[name]) < 2]:
        raise DataError(
            f"{label}: class {some(few)} has one image; a train and test split needs two or more"
        )
    train, test = {}, {}
    for index, name in enumerate(classes):
        names = sorted(groups[name])
        generator = keyed_generator(SPLIT_SEED, Purpose.SPLIT, index)
        order = torch.randperm(len(names), generator=generator).tolist()
        count = max(1, round(len(names) * TEST_SHARE))
        test[name] = [names[i] for i in order[:count]]
        train[name] = [names[i] for i in order[count:]]
    return Layout(classes, _samples(train, classes), _samples(test, classes))


def _samples(groups: dict[str, list[str]], classes: tuple[str, ...]) -> list[Sample]:
    return [(n, i) for i, name in enumerate(classes) for n in sorted(groups.get(name, ()))]


def some(names: list[str]) -> str:
    """The first few names, quoted, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(repr(name) for name in names[:NAMED]) + more
