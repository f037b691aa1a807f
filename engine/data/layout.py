"""Classes and splits of a data set, from the file names of a folder or zip."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch

from engine.data import formats, splits
from engine.errors import DataError
from engine.randomness import Purpose, keyed_generator

VERSION = 3  # of these rules; increment when they change, to invalidate caches
TEST_FRACTION = 0.2  # of each class, where there is no test split
SPLIT_SEED = 0
NAMED = 5  # examples in a message, at most
EXPECTED = "expected train/<class>/<image> and test/<class>/<image>, or <class>/<image>"

Parts = tuple[str, ...]  # the components of a relative path
Sample = tuple[str, int]  # (relative path with "/", class index)


@dataclass(frozen=True)
class Layout:
    """Sorted class names, and the samples of each split, sorted by class and name."""

    classes: tuple[str, ...]
    train: list[Sample]
    test: list[Sample]
    notes: tuple[str, ...] = ()  # what was left out, a line each
    warnings: tuple[str, ...] = ()  # what is probably not meant, a line each


@dataclass(frozen=True)
class Folder:
    """The images and the listed folders below one folder."""

    images: list[Parts]
    listed: list[Parts]  # folders, which may be empty
    depth: int  # number of components of its own path

    @cached_property
    def folders(self) -> dict[str, "Folder"]:
        """Subfolders by name."""
        at = self.depth
        inside: dict[str, Folder] = {}
        for parts in self.listed:
            # A folder without images counts: an empty class is an error.
            if len(parts) > at:
                inside.setdefault(parts[at], Folder([], [], at + 1)).listed.append(parts)
        for parts in self.images:
            if len(parts) > at + 1:
                inside.setdefault(parts[at], Folder([], [], at + 1)).images.append(parts)
        return inside

    @property
    def has_direct_images(self) -> bool:
        """Whether images are directly inside, in no class folder."""
        return any(len(parts) == self.depth + 1 for parts in self.images)

    @cached_property
    def named(self) -> dict[str, splits.SplitName]:
        """Subfolders that are named like splits of a data set."""
        names = [name for name in self.folders if splits.parse(name)]
        with_classes = {n for n in names if len(_skip_wrapper(n, self.folders[n]).folders) > 1}
        return splits.find(names, with_classes)

    def groups(self) -> dict[str, list[str]]:
        """Relative paths of the images below each subfolder."""
        return {
            name: ["/".join(parts) for parts in folder.images]
            for name, folder in self.folders.items()
        }


def plan(files: Iterable[str], folders: Iterable[str], label: str) -> Layout:
    """Derive classes and splits from `train/<class>/…` and `test/<class>/…`, or `<class>/…`.

    files, folders: relative paths with "/", without clutter; folders may be empty.
    Top-level folders that all images share are skipped. Splits may have any name that
    `splits.parse` recognizes. The test images are those of the test split, else those of the
    validation split, else a fifth of each class, chosen with a fixed seed. Other images and files
    are left out and told. Raises DataError, which starts with `label` and names the folders at
    fault.
    """
    files = list(files)
    paths = [_parts(name) for name in files if formats.is_image(name)]
    top = _skip_common(Folder(paths, [_parts(name) for name in folders], 0))
    train, test = _find_splits(top, label)
    groups = train.groups()
    classes = _check(groups, label)
    warnings = _nested(train)
    if test is None:
        train_groups, test_groups = _stratified(groups, classes, label)
    else:
        train_groups, test_groups = groups, test.groups()
        _check_test(test_groups, classes, label)
        warnings += _untested(test_groups, classes) + _nested(test)
    samples = [_samples(part, classes) for part in (train_groups, test_groups)]
    used = {name for part in samples for name, _ in part}
    unused = sorted(name for parts in paths if (name := "/".join(parts)) not in used)
    if unused:
        where = "images in no class folder of the training or test images"
        warnings.append(f"left out, {where} ({len(unused):,}): {some(unused)}")
    others = [name for name in files if not formats.is_image(name)]
    notes = [f"left out, not images ({len(others):,}): {some(others)}"] if others else []
    return Layout(classes, *samples, tuple(notes), tuple(warnings))


def _nested(split: Folder) -> list[str]:
    """A warning if images of a class are at two depths, or in several folders of the class."""
    inner = [
        f"{name}/{below}"
        for name, folder in sorted(split.folders.items())
        if len(folder.folders) > 1 or (folder.folders and folder.has_direct_images)
        for below in sorted(folder.folders)
        if folder.folders[below].images
    ]
    if not inner:
        return []
    return [f"images in folders inside a class count as that class: {some(inner)}"]


def _untested(groups: dict[str, list[str]], classes: tuple[str, ...]) -> list[str]:
    """A warning of classes that the test images lack."""
    missing = [name for name in classes if name not in groups]
    if not missing:
        return []
    return [f"no test images of class {some(missing)}: accuracy says nothing about it"]


def _parts(name: str) -> Parts:
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _skip_common(folder: Folder) -> Folder:
    """Skip leading folders that all images share, but not the class folders."""
    while len(folder.folders) == 1:
        (inside,) = folder.folders.values()
        if not any(f.images for f in inside.folders.values()):
            break
        # An image next to a folder of splits is in no class; elsewhere it may be in one.
        if (folder.has_direct_images or inside.has_direct_images) and len(inside.named) < 2:
            break
        folder = inside
    return folder


def _skip_wrapper(name: str, folder: Folder) -> Folder:
    """Skip a single folder inside a split that repeats its name or has a neutral one."""
    kind = splits.parse(name).kind
    while len(folder.folders) == 1:
        ((inner, inside),) = folder.folders.items()
        same = (split := splits.parse(inner)) is not None and split.kind == kind
        if not same and not splits.is_neutral(inner):
            break
        folder = inside
    return folder


def _find_splits(top: Folder, label: str) -> tuple[Folder, Folder | None]:
    """The folders that contain the class folders for training and for testing (None: no split).

    Raises DataError if folders are named like splits but cannot be used as such.
    """
    named = top.named
    others = sorted(n for n, folder in top.folders.items() if n not in named and folder.images)
    inside = {name: _skip_wrapper(name, top.folders[name]) for name in named}

    def with_classes(kind: str) -> list[str]:
        found = [n for n, split in named.items() if split.kind == kind and inside[n].folders]
        # "test" takes precedence over "hard_test".
        return [n for n in found if not named[n].qualifiers] or found

    single = next(iter(named)) if len(named) == 1 and others else None
    # "train" is also a vehicle: without class folders of its own, it is a class.
    if not named or (single and named[single].is_common_word and len(inside[single].folders) < 2):
        _refuse_misplaced_splits("", top, label)
        return top, None
    train = with_classes(splits.TRAIN)
    if single or not train:
        raise DataError(f"{label}: {_why_no_splits(sorted(named), others)}; {EXPECTED}")
    test: list[str] = []
    for kind in (splits.TEST, splits.VAL):
        test = test or with_classes(kind)
        found = [name for name, split in named.items() if split.kind == kind]
        if found and not test and not any(top.folders[name].images for name in found):
            raise DataError(f"{label}: the test folder {found[0]!r} has no class folders")
    for names, purpose in ((train, "training"), (test, "test")):
        if len(names) > 1:
            raise DataError(
                f"{label}: several folders of {purpose} images, {some(sorted(names))}; keep one "
                "of them or merge them"
            )
    if not test:
        _refuse_misplaced_splits(train[0], inside[train[0]], label)
        return inside[train[0]], None
    return inside[train[0]], inside[test[0]]


def _why_no_splits(named: list[str], others: list[str]) -> str:
    if len(named) == 1 and others:
        return (
            f"folder {named[0]!r} is named like a split, but {some(others)} beside it "
            f"{'is' if len(others) == 1 else 'are'} not; rename it if it is a class"
        )
    beside = f", beside {some(others)}" if others else ""
    return f"found {some(named)}, named like splits{beside}, but no training folder with classes"


def _refuse_misplaced_splits(name: str, folder: Folder, label: str) -> None:
    """Raise DataError if the class folders are or contain splits, or are pieces of a data set."""
    inside = [(inner, _skip_common(below)) for inner, below in folder.folders.items()]
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
    """The sorted class names. Raises DataError unless they are distinct, two or more, not empty."""
    if not groups:
        raise DataError(f"{label}: no images found; {EXPECTED}")
    seen: dict[str, str] = {}
    for name in sorted(groups):
        # Names that coincide on a case-insensitive or normalizing file system.
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


def _stratified(
    groups: dict[str, list[str]], classes: tuple[str, ...], label: str
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Training and test images of each class. Raises DataError for a class of one image."""
    if few := [name for name in classes if len(groups[name]) < 2]:
        raise DataError(
            f"{label}: class {some(few)} has one image; a train and test split needs two or more"
        )
    train, test = {}, {}
    for index, name in enumerate(classes):
        names = sorted(groups[name])
        generator = keyed_generator(SPLIT_SEED, Purpose.SPLIT, index)
        order = torch.randperm(len(names), generator=generator).tolist()
        count = max(1, round(len(names) * TEST_FRACTION))
        test[name] = [names[i] for i in order[:count]]
        train[name] = [names[i] for i in order[count:]]
    return train, test


def _samples(groups: dict[str, list[str]], classes: tuple[str, ...]) -> list[Sample]:
    return [(n, i) for i, name in enumerate(classes) for n in sorted(groups.get(name, ()))]


def some(names: list[str]) -> str:
    """The first NAMED names, quoted, and the number of others."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(repr(name) for name in names[:NAMED]) + more
