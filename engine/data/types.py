"""What a data set is once it is loaded."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.data.progress import Watch

NAMED = 10  # classes in a line about a split
IMAGE_SIZE = 32  # pixels; the networks here are made for 32×32 RGB images


@dataclass(frozen=True)
class ImageData:
    """A labelled image data set, whole in memory (3 KiB per image).

    Images are uint8 [N, 3, 32, 32] RGB, labels int64 [N] that index `classes`.
    `mean` and `std` are per channel, of pixel values in 0..1 over the training images.
    """

    name: str  # label for figures: "cifar10", "shapes", or the stem of the folder or zip
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor

    def class_counts(self) -> list[tuple[str, int, int]]:
        """Each class with its number of training and of test images."""
        labels = (self.train_labels, self.test_labels)
        train, test = (part.bincount(minlength=len(self.classes)).tolist() for part in labels)
        return list(zip(self.classes, train, test, strict=True))

    def describe_splits(self) -> list[str]:
        """A line for each split: its number of images, in all and of the first ten classes."""
        counts = self.class_counts()
        left = len(counts) - NAMED
        more = f" and {left:,} more class{'es' if left > 1 else ''}" if left > 0 else ""
        lines = []
        for title, column in (("training", 1), ("test", 2)):
            # Quoted, because a folder's name may hold anything that a terminal would act on.
            words = ", ".join(f"{row[0]!r} {row[column]:,}" for row in counts[:NAMED])
            total = sum(row[column] for row in counts)
            lines.append(f"{title} images: {total:,} in {len(counts):,} classes: {words}{more}")
        return lines

    def matches(self, described: dict[str, Any]) -> bool:
        """Whether classes, mean and std are the ones that a run stored of its data set."""
        if described.get("classes") != list(self.classes):
            return False
        now, then = (*self.mean, *self.std), (*described["mean"], *described["std"])
        # The last digits of a sum may differ between platforms.
        return all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(now, then, strict=True))


@dataclass(frozen=True)
class DatasetSpec:
    """A data set that is known by name.

    `load(root, url, watch)` gives the data or raises DataError or Cancelled;
    `is_available(root)` says whether that works without the network.
    """

    title: str
    description: str
    sizes: tuple[int, int]  # training and test images
    load: Callable[[Path, str | None, Watch], ImageData]
    is_available: Callable[[Path], bool]
