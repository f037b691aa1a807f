"""Lineage of weights: the trainings that led to them, and the images that those used."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engine.data.batches import split_indices
from engine.data.types import ImageData


@dataclass(frozen=True)
class Training:
    """One training of a lineage: what determines the images and random keys that it used."""

    images: str | None  # see `identity`; None: unknown
    classes: tuple[str, ...] = ()
    seed: int = 0
    holdout: int = 0
    limit: int | None = None
    epochs: int = 0  # last epoch of its random keys
    avoids: bool = True  # whether its holdout avoided images of earlier trainings
    stratified: bool = False  # see engine.data.batches.split; absent from older versions' files


UNKNOWN = Training(images=None)


def identity(fingerprint: dict[str, Any]) -> str:
    """Identity of the training images of a data set, from its fingerprint."""
    train = fingerprint["train"]
    return f"{train['count']} {train['images']}"


def stored(info: dict[str, Any] | None) -> list[Training] | None:
    """The lineage of the initial weights of a run, from its Run.dataset_info.

    None for a run made before lineages were stored.
    """
    if not info or "lineage" not in info:
        return None
    try:
        return [Training(**{**each, "classes": tuple(each["classes"])}) for each in info["lineage"]]
    except (TypeError, KeyError):  # damaged, or from a newer version
        return [UNKNOWN]


def to_dicts(lineage: Sequence[Training]) -> list[dict[str, Any]]:
    """The inverse of `stored`: plain types, ready for JSON."""
    return [dataclasses.asdict(training) for training in lineage]


def trained_on(lineage: Sequence[Training], data: ImageData) -> Tensor:
    """Which training images of `data` the lineage was trained on: bool [N], on the CPU."""
    seen = torch.zeros(len(data.train_labels), dtype=torch.bool)
    for training in _on(lineage, data):
        _, kept = split_indices(
            data.train_labels,
            holdout=training.holdout,
            limit=training.limit,
            seed=training.seed,
            avoid=seen if training.avoids else None,
            stratified=training.stratified,
        )
        seen[kept] = True
    return seen


def may_include(lineage: Sequence[Training], data: ImageData) -> bool:
    """Whether the lineage may have been trained on images of `data` that `trained_on` misses.

    True if the images of a training are unknown, or if another data set shares classes with `data`,
    such as an earlier version of it.
    """
    others = [each for each in lineage if each not in _on(lineage, data)]
    return any(t.images is None or set(t.classes) & set(data.classes) for t in others)


def epochs_done(lineage: Sequence[Training], data: ImageData, seed: int) -> int:
    """Last epoch whose random keys (with this seed) were used on the images of `data`."""
    return max((t.epochs for t in _on(lineage, data) if t.seed == seed), default=0)


def _on(lineage: Sequence[Training], data: ImageData) -> list[Training]:
    """The trainings of the lineage on the training images of `data`."""
    if not data.fingerprint:
        return []
    return [each for each in lineage if each.images == identity(data.fingerprint)]
