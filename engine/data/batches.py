"""Training and validation splits of a data set, and the order of each epoch."""

from dataclasses import dataclass

import torch
from torch import LongTensor, Tensor

from engine.data.types import ImageData
from engine.errors import ConfigError
from engine.randomness import Purpose, keyed_generator


@dataclass(frozen=True)
class Splits:
    """Training and validation images, uint8 [N, 3, 32, 32], and labels, int64 [N]."""

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    val_is_test: bool  # the validation images are the data set's test images
    # Validation images that the initial weights were trained on; None: some may be, not known.
    val_seen: int | None = 0
    # Test images and labels where the validation images are others: for the last epoch only.
    test: tuple[Tensor, Tensor] | None = None


def split(
    data: ImageData,
    *,
    holdout: int = 0,
    limit: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    avoid: Tensor | None = None,
    stratified: bool = True,
) -> Splits:
    """Split a data set into training and validation images, uint8 on `device`.

    holdout: training images that are set aside for validation; with 0, the test images are used.
    limit: at most this many of the remaining images are kept for training; None: all. avoid: which
    training images are held out only when no others are left, those that the initial weights were
    trained on; bool [N]. The choice depends on labels, `seed` and `avoid` alone, and a larger limit
    is a superset of a smaller one.

    stratified: every class gives its share, and none vanishes from the training images while there
    is room for all. Otherwise images are drawn without regard to class, as older versions did.

    Raises ConfigError ("data.holdout", "data.limit") if no training images would be left.
    """
    count = len(data.train_labels)
    split_sizes(count, len(data.test_labels), holdout=holdout, limit=limit)  # raises ConfigError
    images, labels = data.train_images, data.train_labels
    val_images, val_labels = data.test_images, data.test_labels
    seen = 0
    if holdout or (limit is not None and limit < count):
        held, kept = split_indices(
            labels, holdout=holdout, limit=limit, seed=seed, avoid=avoid, stratified=stratified
        )
        if holdout:
            val_images, val_labels = images[held], labels[held]
            seen = 0 if avoid is None else int(avoid[held].sum())
        images, labels = images[kept], labels[kept]
    return Splits(
        images.to(device),
        labels.to(device),
        val_images.to(device),
        val_labels.to(device),
        val_is_test=holdout == 0,
        val_seen=seen,
        test=(data.test_images.to(device), data.test_labels.to(device)) if holdout else None,
    )


def split_indices(
    labels: LongTensor,
    *,
    holdout: int,
    limit: int | None,
    seed: int,
    avoid: Tensor | None = None,
    stratified: bool = True,
) -> tuple[LongTensor, LongTensor]:
    """(held-out images, training images) as sorted indices into `labels`; see `split`."""
    order = torch.randperm(len(labels), generator=keyed_generator(seed, Purpose.SPLIT))
    candidates = order
    if avoid is not None:
        candidates = torch.cat([order[~avoid[order]], order[avoid[order]]])
    if stratified:
        ranks, sizes = _ranks(labels[candidates])
        # The last image of a class is held out after all others, then those to avoid.
        key = _share(ranks, sizes) + 2.0 * (ranks == sizes - 1)
        candidates = candidates[
            (key if avoid is None else key + avoid[candidates]).argsort(stable=True)
        ]
    held = candidates[:holdout]
    is_held = torch.zeros(len(labels), dtype=torch.bool)
    is_held[held] = True
    kept = order[~is_held[order]]
    if stratified:
        ranks, sizes = _ranks(labels[kept])
        kept = kept[_share(ranks, sizes).where(ranks > 0, 0.0).argsort(stable=True)]
    kept = kept[:limit]
    return held.sort().values, kept.sort().values


def _ranks(labels: LongTensor) -> tuple[LongTensor, LongTensor]:
    """Of each label: the number of equal ones before it, and of all equal ones."""
    sizes, by_class = labels.bincount(), labels.argsort(stable=True)
    firsts = (sizes.cumsum(0) - sizes)[labels[by_class]]
    ranks = torch.empty_like(labels)
    ranks[by_class] = torch.arange(len(labels)) - firsts
    return ranks, sizes[labels]


def _share(ranks: LongTensor, sizes: LongTensor) -> Tensor:
    """Key in (0, 1) by which the first N images hold N times the share of each class, rounded.

    The divisor method of Webster and Sainte-Laguë. Unlike with largest remainders, a larger N only
    adds images.
    """
    return (ranks.double() + 0.5) / sizes


def split_sizes(
    train: int, test: int, *, holdout: int = 0, limit: int | None = None
) -> tuple[int, int]:
    """Numbers of training and validation images that `split` makes of `train` and `test` images.

    Raises ConfigError ("data.holdout", "data.limit") if nothing would be left to train on.
    """
    if not 0 <= holdout < train:
        raise ConfigError(
            "data.holdout",
            f"must be from 0 to {train - 1:,}, to leave some of the {train:,} training images to "
            f"train on, not {holdout:,}",
        )
    if limit is not None and limit < 1:
        raise ConfigError("data.limit", f"must be at least 1 image, or empty for all, not {limit}")
    return min(train - holdout, limit or train), holdout or test


def sample_indices(count: int, size: int, seed: int) -> LongTensor:
    """At most `size` of `count` indices, sampled without replacement: sorted, int64, on the CPU.

    A slice would be biased: the images of class folders are ordered by class.
    """
    order = torch.randperm(count, generator=keyed_generator(seed, Purpose.SAMPLE))
    return order[:size].sort().values


def epoch_permutation(n: int, seed: int, epoch: int) -> LongTensor:
    """The order of `n` training images in `epoch` (from 1): int64 [n], on the CPU."""
    return torch.randperm(n, generator=keyed_generator(seed, Purpose.PERMUTATION, epoch))
