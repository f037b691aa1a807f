"""Where a network errs: confusion matrix, precision and recall, accuracy with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support
from torch import Tensor

LEVEL = 0.95  # of the intervals


class Interval(NamedTuple):
    """A share, 0 to 1, with its interval."""

    value: float
    low: float
    high: float


class ClassRow(NamedTuple):
    """Counts and rates of one class."""

    name: str
    images: int
    precision: float  # share of correct ones among the images called so; nan if there are none
    recall: float  # share of this class's images called so; nan if there are none


@dataclass(frozen=True)
class Confusion:
    """Labels against predictions of N images."""

    matrix: np.ndarray  # int64 [classes, classes]: rows are labels, columns predictions
    classes: tuple[ClassRow, ...]
    accuracy: Interval


def wilson(correct: int, count: int) -> Interval:
    """Share correct / count with its 95 % interval (Wilson 1927). Raises ValueError if count is 0.

    For two networks on the same images, engine.inspect.compare is the test: their errors overlap.
    """
    result = binomtest(correct, count)
    low, high = result.proportion_ci(LEVEL, method="wilson")
    return Interval(result.statistic, float(low), float(high))


def confusion(labels: Tensor, predicted: Tensor, classes: tuple[str, ...]) -> Confusion:
    """Compare given and predicted labels, int64 [N]. Raises ValueError if N is 0."""
    indices = range(len(classes))
    pair = labels.numpy(), predicted.numpy()
    precision, recall, _, images = precision_recall_fscore_support(
        *pair, labels=indices, zero_division=np.nan
    )
    rows = zip(classes, images.tolist(), precision.tolist(), recall.tolist(), strict=True)
    return Confusion(
        matrix=confusion_matrix(*pair, labels=indices),
        classes=tuple(ClassRow(*row) for row in rows),
        accuracy=wilson(int((labels == predicted).sum()), len(labels)),
    )


def cell(labels: Tensor, probabilities: Tensor, label: int, predicted: int) -> list[int]:
    """Indices of the images of class `label` that are called `predicted`, most confident first.

    labels: int64 [N]; probabilities: [N, classes].
    """
    chosen = (labels == label) & (probabilities.argmax(1) == predicted)
    return by_value(chosen, probabilities[:, predicted], descending=True)


def by_value(chosen: Tensor, values: Tensor, *, descending: bool) -> list[int]:
    """Indices at which `chosen`, bool [N], holds, in the order of `values` [N]."""
    indices = torch.nonzero(chosen).flatten()
    return indices[values[indices].argsort(descending=descending, stable=True)].tolist()
