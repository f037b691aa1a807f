"""Progressive resizing: train on small images first, at a fraction of the cost.

Howard 2018, "Training Imagenet in 3 hours for 25 minutes" (fast.ai, DAWNBench); Touvron et al.
2019, arXiv 1906.06423, explain why the last part must be at the test resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import ConfigError

SIZES = ((0.35, 20), (0.6, 26))  # (fraction of the run's steps, image size until then)


def size_at(done: float, full: int) -> int:
    """Image size of a training step, in pixels. done: fraction of the run's steps, 0 to 1."""
    return next((size for until, size in SIZES if done < until and size < full), full)


def sizes(full: int) -> list[int]:
    """All image sizes of a run on images of `full` pixels, in ascending order."""
    return [*(size for _, size in SIZES if size < full), full]


def cost(full: int = 32, done: float = 0.0) -> float:
    """Cost of the remaining steps, by pixel count, relative to a whole run on full-size images.

    done: fraction of the run's steps that are done, 0 to 1.
    """
    left = 0.0
    for until, size in (*SIZES, (1.0, full)):
        left += max(0.0, until - done) * (min(size, full) / full) ** 2
        done = max(done, until)
    return left


def resize(images: Tensor, size: int) -> Tensor:
    """float [B, C, H, H] → [B, C, size, size], bilinear with antialiasing."""
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, size=(size, size), mode="bilinear", antialias=True)


def check(model: nn.Module) -> None:
    """Raise ConfigError if `model`, on the meta device, does not accept the smallest size."""
    size = min(size for _, size in SIZES)
    try:
        model.eval()(torch.empty(2, 3, size, size, device="meta"))
    except (RuntimeError, ValueError):  # the latter from instance norm
        raise ConfigError(
            "progressive", f"this architecture does not accept images of {size} pixels; turn it off"
        ) from None
