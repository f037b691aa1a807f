"""The images that a network is inspected on: those of a split, or a random sample of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from engine.data.batches import sample_indices


@dataclass(frozen=True)
class Sample:
    """N labelled images of a split that has `total` of them."""

    images: Tensor  # uint8 [N, 3, 32, 32]
    labels: Tensor  # int64 [N]
    numbers: tuple[int, ...]  # N ascending indices into the split
    total: int

    def __len__(self) -> int:
        return len(self.numbers)


def sample(images: Tensor, labels: Tensor, size: int | None = None, seed: int = 0) -> Sample:
    """At most `size` images of a split, drawn at random, in its order; None: all of them."""
    total = len(labels)
    if size is None or size >= total:
        return Sample(images, labels, tuple(range(total)), total)
    chosen = sample_indices(total, size, seed)
    return Sample(images[chosen], labels[chosen], tuple(chosen.tolist()), total)
