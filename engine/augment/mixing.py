"""Mixup and CutMix: augmentations that combine two images and their labels.

Both return (images, targets_a, targets_b, lam), for the loss
lam · loss(logits, targets_a) + (1 - lam) · loss(logits, targets_b).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from engine.augment.geometric import Shape, to_device
from engine.errors import ConfigError

Mixed = tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]


def _check_alpha(field: str, alpha: float) -> None:
    if not 0 < alpha < math.inf:
        raise ConfigError(field, f"{alpha} is not a number above 0")


def _beta(alpha: float, generator: torch.Generator) -> float:
    """A sample of Beta(alpha, alpha), by NumPy: torch.distributions.Beta takes no generator."""
    seed = torch.randint(2**63 - 1, (), generator=generator).item()
    return float(np.random.default_rng(seed).beta(alpha, alpha))


class MixupParams(NamedTuple):
    order: torch.Tensor  # (B,) int64, a permutation: image i is mixed with image order[i]
    lam: float  # weight of image i, 0 to 1; that of its partner is 1 - lam


@dataclass(frozen=True)
class Mixup:
    """Blend each image with another: λ·x + (1 - λ)·x', with one λ ~ Beta(α, α) per batch.

    Zhang et al. 2017, "mixup: Beyond Empirical Risk Minimization", arXiv 1710.09412, equation 2.
    Raises ConfigError unless α is above 0.
    """

    alpha: float = 0.2  # above 0. Small: λ near 0 or 1; 1: λ uniform

    def __post_init__(self):
        _check_alpha("augment.mixup_alpha", self.alpha)

    def sample(self, batch_shape: Shape, generator: torch.Generator) -> MixupParams:
        """Draw the partners and λ for a batch (B, C, H, W)."""
        order = torch.randperm(batch_shape[0], generator=generator)
        return MixupParams(order, _beta(self.alpha, generator))

    def apply(self, images: torch.Tensor, labels: torch.Tensor, params: MixupParams) -> Mixed:
        """images: (B, C, H, W) float; labels: (B,), on the same device. Returns new images."""
        (order,) = to_device([params.order], images.device)
        mixed = images[order].lerp_(images, params.lam)
        return mixed, labels, labels[order], params.lam


class CutMixParams(NamedTuple):
    """One box for the whole batch, in pixels; `bottom` and `right` are exclusive."""

    order: torch.Tensor  # (B,) int64, a permutation: the box of image i is from image order[i]
    top: int
    bottom: int
    left: int
    right: int
    lam: float  # fraction of the image outside the box, 0 to 1


@dataclass(frozen=True)
class CutMix:
    """Paste a box of another image of the batch into each image, one box for the whole batch.

    Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with
    Localizable Features", arXiv 1905.04899, algorithm 1: the box has a fraction 1 - λ of the
    area, λ ~ Beta(α, α), and a uniform center, and is clipped at the edges; λ is then set to the
    fraction that remains. Raises ConfigError unless α is above 0.
    """

    alpha: float = 1.0  # above 0

    def __post_init__(self):
        _check_alpha("augment.cutmix_alpha", self.alpha)

    def sample(self, batch_shape: Shape, generator: torch.Generator) -> CutMixParams:
        """Draw the partners and the box for a batch (B, C, H, W)."""
        batch, _, height, width = batch_shape
        order = torch.randperm(batch, generator=generator)
        side = math.sqrt(1 - _beta(self.alpha, generator))  # of the box, relative to the image
        top, bottom = self._span(height, side, generator)
        left, right = self._span(width, side, generator)
        lam = 1 - (bottom - top) * (right - left) / (height * width)
        return CutMixParams(order, top, bottom, left, right, lam)

    def apply(self, images: torch.Tensor, labels: torch.Tensor, params: CutMixParams) -> Mixed:
        """images: (B, C, H, W), any dtype; labels: (B,), on the same device. Returns new images."""
        (order,) = to_device([params.order], images.device)
        rows, columns = slice(params.top, params.bottom), slice(params.left, params.right)
        mixed = images.clone()
        mixed[:, :, rows, columns] = images[:, :, rows, columns][order]
        return mixed, labels, labels[order], params.lam

    @staticmethod
    def _span(size: int, fraction: float, generator: torch.Generator) -> tuple[int, int]:
        """Start and end of an interval of length size · fraction with a uniform center, clipped."""
        length = int(size * fraction)
        start = int(torch.randint(size, (), generator=generator)) - length // 2
        return max(start, 0), min(start + length, size)
