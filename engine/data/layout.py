"""Which file is which image: from the names in a folder or zip to classes and a split."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

import torch

from engine.errors import DataError
from engine.randomness import Purpose, keyed_generator

TRAIN = "train"
TEST = ("test", "val", "valid", "validation")  # the first that is there is the test split
TEST_SHARE = 0.2  # of each class, where the folders have no split of their own
SPLIT_SEED = 0
CLUTTER = {"__macosx", "thumbs.db", "desktop.ini"}  # what file managers leave; in lower case
# Files that count as images; notes, tables and licences beside them do not. The second line
# cannot be read here, but a person must hear that, rather than miss their images.
PICTURES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"}
PICTURES |= {".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ppm", ".svg"}
NAMED = 5  # examples in a message

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


def plan(files: Iterable[str], folders: Iterable[str], label: str) -> Layout:
    """Read `train/<class>/…` and `test/<class>/…`, or `<class>/…`, off the files' names.

    Names are relative, with "/"; ignored ones are left out by the caller. `folders` are those
    known by themselves, perhaps empty. A common top-level folder is skipped. Without a split, a
    fifth of each class (seeded) becomes the test images; with one, folders beside it do not
    count. Raises DataError, which starts with `label` and names the classes at fault.
    """
    paths = [_parts(name) for name in files if PurePosixPath(name).suffix.lower() in PICTURES]
    roots = [_parts(name) for name in folders]
    depth = _common_depth(paths, roots)
    tops = {p[depth] for p in paths if len(p) > depth + 1}
    tops |= {p[depth] for p in roots if len(p) > depth}
    test_name = next((name for name in TEST if name in tops), None)
    if TRAIN not in tops or test_name is None:
        groups = _by_class(paths, roots, depth)
        return _stratified(groups, _check(groups, label), label)

    train, test = (
        _by_class(_below(paths, depth, name), _below(roots, depth, name), depth + 1)
        for name in (TRAIN, test_name)
    )
    classes = _check(train, label)
    _check_test(test, classes, label)
    return Layout(classes, _samples(train, classes), _samples(test, classes))


def _parts(name: str) -> Parts:
    return tuple(part for part in name.split("/") if part not in ("", "."))


def _below(paths: list[Parts], depth: int, name: str) -> list[Parts]:
    return [p for p in paths if len(p) > depth and p[depth] == name]


def _common_depth(paths: list[Parts], roots: list[Parts]) -> int:
    """How many leading folders all images share; the class folders are never counted."""
    depth = 0
    while paths and all(len(p) > depth + 2 for p in paths):
        if len({p[depth] for p in paths + roots if len(p) > depth}) > 1:
            break
        depth += 1
    return depth


def _by_class(paths: list[Parts], roots: list[Parts], at: int) -> dict[str, list[str]]:
    """Names of the images under each class folder, whose own name is part `at`."""
    # An empty class must be noticed, so a folder counts without any image.
    groups: dict[str, list[str]] = {p[at]: [] for p in roots if len(p) > at}
    for parts in paths:
        if len(parts) > at + 1:
            groups.setdefault(parts[at], []).append("/".join(parts))
    return groups


def _check(groups: dict[str, list[str]], label: str) -> tuple[str, ...]:
    """The sorted class names, once they can be told apart and trained on."""
    if not groups:
        raise DataError(
            f"{label}: no images found; expected train/<class>/<image> and test/<class>/<image>, "
            "or <class>/<image>"
        )
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
