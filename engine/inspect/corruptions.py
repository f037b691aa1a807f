"""Accuracy on corrupted images, at three severities.

After Hendrycks and Dietterich 2019, arXiv 1903.12261, whose CIFAR-10-C has more corruptions at five
severities: these are made here, and their numbers do not compare with published ones.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from engine.data.types import IMAGE_SIZE
from engine.inspect import changes
from engine.inspect.confusion import Interval, wilson
from engine.predict import to_image, to_input
from engine.randomness import Purpose, keyed_generator

SEVERITIES = (1, 2, 3)


class Row(NamedTuple):
    """Accuracy under one corruption; severity 0: the images as they are."""

    corruption: str
    severity: int
    accuracy: Interval


def noise(images: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Add Gaussian noise; sigma as a share of the range of values."""
    added = torch.randn(images.shape, generator=generator) * (255 * sigma)
    return (images + added).round().clamp(0, 255).to(torch.uint8)


def jpeg(images: Tensor, quality: int) -> Tensor:
    """Compress each image, at a quality from 1 to 95, and decode it."""
    decoded = []
    for image in images:
        file = io.BytesIO()
        to_image(image).save(file, "JPEG", quality=quality)
        decoded.append(to_input(Image.open(file)))
    return torch.stack(decoded)


def _shift(images: Tensor, pixels: int, generator: torch.Generator) -> Tensor:
    right, down = ((torch.randint(2, (2,), generator=generator) * 2 - 1) * pixels).tolist()
    return changes.shift(images, right, down)


def _occlude(images: Tensor, size: int, generator: torch.Generator) -> Tensor:
    corners = torch.randint(IMAGE_SIZE - size + 1, (len(images), 2), generator=generator).tolist()
    pairs = zip(images, corners, strict=True)
    return torch.stack([changes.occlude(image, *corner, size) for image, corner in pairs])


class Corruption(NamedTuple):
    """apply(images, amount, generator) -> images, uint8 [N, 3, 32, 32]; an amount by severity."""

    apply: Callable[[Tensor, float, torch.Generator], Tensor]
    amounts: tuple[float, float, float]
    unit: str


CORRUPTIONS = {
    "noise": Corruption(noise, (0.04, 0.08, 0.14), "standard deviation, of the range of values"),
    "blur": Corruption(lambda x, sigma, _: changes.blur(x, sigma), (0.6, 1.0, 1.6), "pixels"),
    "brightness": Corruption(lambda x, f, _: changes.brightness(x, f), (0.7, 0.5, 0.3), "factor"),
    "contrast": Corruption(
        lambda x, f, _: transforms.adjust_contrast(x, f), (0.6, 0.4, 0.2), "factor"
    ),
    "JPEG": Corruption(lambda x, quality, _: jpeg(x, quality), (60, 30, 12), "quality, of 100"),
    "shift": Corruption(_shift, (2, 4, 7), "pixels, along both sides"),
    "occlusion": Corruption(_occlude, (8, 12, 16), "pixels, side of a gray square"),
}


def corrupt(images: Tensor, name: str, severity: int, seed: int = 0) -> Tensor:
    """Corrupt uint8 [N, 3, 32, 32]: `name` of CORRUPTIONS, severity 1 to 3. The same each time.

    Raises ValueError for an unknown name or severity.
    """
    if name not in CORRUPTIONS or severity not in SEVERITIES:
        known = ", ".join(CORRUPTIONS)
        raise ValueError(f"no {name!r} of severity {severity}: known are {known}, 1 to 3")
    kind = CORRUPTIONS[name]
    number = list(CORRUPTIONS).index(name)
    generator = keyed_generator(seed, Purpose.CORRUPTION, number, severity)
    return kind.apply(images, kind.amounts[severity - 1], generator)


def measure(
    images: Tensor, labels: Tensor, predict: Callable[[Tensor], Generator[float, None, Tensor]]
) -> Generator[float, None, list[Row]]:
    """Yield the share done; return the accuracy on the images and on each corruption of them.

    images: uint8 [N, 3, 32, 32]. predict: a generator of the share done that returns the predicted
    labels [N] of images. Raises ValueError if there are no images.
    """
    kinds = [("none", 0), *((name, severity) for name in CORRUPTIONS for severity in SEVERITIES)]
    rows = []
    for number, (name, severity) in enumerate(kinds):
        steps = predict(corrupt(images, name, severity) if severity else images)
        while True:
            try:
                yield (number + next(steps)) / len(kinds)
            except StopIteration as end:
                right = int((end.value == labels).sum())
                break
        rows.append(Row(name, severity, wilson(right, len(labels))))
    return rows
