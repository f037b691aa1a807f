"""How sure a network is: reliability, temperature scaling, and images worth a look.

Guo et al. 2017, "On Calibration of Modern Neural Networks", arXiv 1706.04599.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from torch.nn import functional as F

from engine.data.batches import sample_indices
from engine.inspect.confusion import by_value
from engine.runs import temperature

BINS = 15
TEMPERATURES = (0.05, 20.0)  # bounds of the search
MIN_IMAGES = 20


class Bin(NamedTuple):
    """Images whose confidence, the probability of the predicted class, is in (low, high]."""

    low: float
    high: float
    images: int
    confidence: float  # mean; nan without images
    accuracy: float  # nan without images


@dataclass(frozen=True)
class Fit:
    """A temperature, fitted on one half of the images and judged on the other half."""

    temperature: float  # above 1: the network was too sure
    fitted_on: int  # images
    judged_on: int  # images
    ece_before: float  # expected calibration error, 0 to 1, as the next three on the judged half
    ece_after: float
    loss_before: float  # mean cross-entropy
    loss_after: float


def reliability(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> list[Bin]:
    """Accuracy by confidence, in bins of equal width. probabilities: [N, classes]."""
    confidence, predicted = probabilities.double().max(1)
    right = (predicted == labels).double()
    number = (confidence * bins).ceil().clamp(1, bins).long() - 1
    rows = []
    for index in range(bins):
        inside = number == index
        means = (values[inside].mean().item() for values in (confidence, right))
        rows.append(Bin(index / bins, (index + 1) / bins, int(inside.sum()), *means))
    return rows


def expected_error(bins: list[Bin]) -> float:
    """Expected calibration error, 0 to 1: equation 3 of the paper."""
    count = sum(each.images for each in bins)
    gaps = (each.images * abs(each.accuracy - each.confidence) for each in bins if each.images)
    return sum(gaps) / max(1, count)


def judged_half(count: int, seed: int = 0) -> Tensor:
    """Which of `count` images judge a temperature, and do not fit it: bool [count]."""
    judged = torch.ones(count, dtype=torch.bool)
    judged[sample_indices(count, count // 2, seed)] = False
    return judged


def fit_temperature(logits: Tensor, labels: Tensor, seed: int = 0) -> Fit:
    """Fit the temperature that minimizes cross-entropy on a random half (section 4.2).

    logits: [N, classes]. Raises ValueError if there are fewer than 20 images.
    """
    count = len(labels)
    if count < MIN_IMAGES:
        raise ValueError(f"calibration needs at least {MIN_IMAGES} images, not {count}")
    judged, logits = judged_half(count, seed), logits.double()
    fitted = ~judged

    def loss(log_temperature: float, half: Tensor) -> float:
        return F.cross_entropy(logits[half] / math.exp(log_temperature), labels[half]).item()

    bounds = tuple(map(math.log, TEMPERATURES))
    best = minimize_scalar(loss, bounds=bounds, args=(fitted,), method="bounded").x
    before, after = (
        expected_error(reliability((logits[judged] / value).softmax(1), labels[judged]))
        for value in (1.0, math.exp(best))
    )
    return Fit(
        temperature=math.exp(best),
        fitted_on=int(fitted.sum()),
        judged_on=int(judged.sum()),
        ece_before=before,
        ece_after=after,
        loss_before=loss(0.0, judged),
        loss_after=loss(best, judged),
    )


def store(weights: Path, digest: str, fit: Fit, images: str) -> None:
    """Store a temperature beside a run's weights, where Predictor finds it. Raises RunError.

    digest: SHA-256 of the weights. images: which ones it was fitted on, in words. Not for shipped
    networks, whose folders are under version control.
    """
    about = {key: value for key, value in dataclasses.asdict(fit).items() if key != "temperature"}
    temperature.write(weights, digest, fit.temperature, {**about, "images": images})


def sure_and_wrong(probabilities: Tensor, labels: Tensor) -> list[int]:
    """Indices of the wrong answers, most confident first."""
    confidence, predicted = probabilities.max(1)
    return by_value(predicted != labels, confidence, descending=True)


def unsure_and_right(probabilities: Tensor, labels: Tensor) -> list[int]:
    """Indices of the right answers, least confident first."""
    confidence, predicted = probabilities.max(1)
    return by_value(predicted == labels, confidence, descending=False)


def doubtful_labels(probabilities: Tensor, labels: Tensor) -> list[int]:
    """Indices of the wrong answers, those whose given label is least likely first: to be checked.

    Northcutt et al. 2021, "Confident Learning", arXiv 1911.00068, rank by the same probability
    (self-confidence).
    """
    given = probabilities.gather(1, labels[:, None]).flatten()
    return by_value(probabilities.argmax(1) != labels, given, descending=False)
