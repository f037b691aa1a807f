"""Small changes of an image, and how much each changes a network's answer.

Images are uint8 [..., 3, H, W]; the changed ones have the same shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

Probabilities = Callable[[Tensor], Tensor]  # uint8 [N, 3, H, W] -> float [N, classes]


class Effect(NamedTuple):
    """A changed image and the network's answer to it."""

    image: Tensor  # uint8 [3, H, W]
    probabilities: Tensor  # [classes]
    change: Tensor  # [classes], the difference from those of the original image


def shift(images: Tensor, right: int, down: int) -> Tensor:
    """Move by whole pixels; negative: left and up. The border is repeated into the gap.

    Raises ValueError for a shift by more than the image's size.
    """
    height, width = images.shape[-2:]
    if abs(right) > width or abs(down) > height:
        raise ValueError(f"a shift by {right}, {down} leaves nothing of {width}×{height} pixels")
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    columns = (torch.arange(width) - right).clamp(0, width - 1)
    return images[..., rows, :][..., columns]


def flip(images: Tensor) -> Tensor:
    """Mirror from left to right."""
    return images.flip(-1)


def gray(images: Tensor) -> Tensor:
    """Luma in all three channels (ITU-R BT.601)."""
    return transforms.rgb_to_grayscale(images, num_output_channels=3)


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur; sigma in pixels, above 0."""
    side = 2 * math.ceil(3 * sigma) + 1
    return transforms.gaussian_blur(images, [side, side], [sigma, sigma])


def brightness(images: Tensor, factor: float) -> Tensor:
    """Multiply by `factor`, from 0 (black); 1 changes nothing."""
    return transforms.adjust_brightness(images, factor)


def occlude(images: Tensor, left: int, top: int, size: int) -> Tensor:
    """Cover a square of `size` pixels with mid-gray; parts outside of the image are ignored."""
    covered = images.clone()
    rows = slice(max(0, top), max(0, top + size))
    covered[..., rows, max(0, left) : max(0, left + size)] = 128
    return covered


def effects(image: Tensor, changed: list[Tensor], probabilities: Probabilities) -> list[Effect]:
    """The answers to changed versions of an image, each uint8 [3, H, W]."""
    answers = probabilities(torch.stack([image, *changed]))
    return [
        Effect(each, answer, answer - answers[0])
        for each, answer in zip(changed, answers[1:], strict=True)
    ]
