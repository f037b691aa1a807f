"""Types of data sets."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from engine.data.progress import Watch

NAMED = 10  # classes in the description of a split, at most
IMAGE_SIZE = 32  # pixels; height and width of the input of every network


@dataclass(frozen=True)
class ImageData:
    """A labelled image data set in memory (3 KiB per image).

    Images are uint8 [N, 3, 32, 32] RGB; labels are int64 [N], indices into `classes`. `mean` and
    `std` are per channel, over the pixels of the training images scaled to 0…1.
    """

    name: str  # of DATASETS, or that of the folder or zip: see engine.data.name_of
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    # Of both splits, from engine.data.fingerprint; empty unless loaded by engine.data.load.
    fingerprint: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # how files of the user were read, a line each
    warnings: tuple[str, ...] = ()  # what is probably not meant, a line each

    def with_notes(self, lines: Iterable[str]) -> Self:
        """A copy with more notes."""
        return replace(self, notes=(*self.notes, *lines))

    def class_counts(self) -> list[tuple[str, int, int]]:
        """(class, number of training images, number of test images) of each class."""
        labels = (self.train_labels, self.test_labels)
        train, test = (part.bincount(minlength=len(self.classes)).tolist() for part in labels)
        return list(zip(self.classes, train, test, strict=True))

    def describe_splits(self) -> list[str]:
        """One line for each split: number of images, in total and of the first ten classes."""
        counts = self.class_counts()
        left = len(counts) - NAMED
        more = f" and {left:,} more class{'es' if left > 1 else ''}" if left > 0 else ""
        lines = []
        for title, column in (("training", 1), ("test", 2)):
            # Quoted: the name of a folder may contain terminal escape sequences.
            words = ", ".join(f"{row[0]!r} {row[column]:,}" for row in counts[:NAMED])
            total = sum(row[column] for row in counts)
            lines.append(f"{title} images: {total:,} in {len(counts):,} classes: {words}{more}")
        return lines

    def describe(self) -> dict[str, Any]:
        """What a run keeps of its data set, in plain types: names, statistics, fingerprint."""
        kept = {"name": self.name, "classes": list(self.classes), "mean": list(self.mean)}
        return {**kept, "std": list(self.std), "fingerprint": self.fingerprint}


@dataclass(frozen=True)
class DatasetSpec:
    """One entry of DATASETS: how to load a data set, and its description.

    `load(root, url, watch)` returns the data, or raises DataError or Cancelled;
    `is_available(root)` tells whether that needs no download.
    """

    title: str
    description: str
    sizes: tuple[int, int]  # training and test images
    num_classes: int
    load: Callable[[Path, str | None, Watch], ImageData]
    is_available: Callable[[Path], bool]
    download_mb: int = 0  # size of the download; 0: none
