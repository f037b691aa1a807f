"""Statistics of norms, computed by the compiled loops: fp64 arrays, (C,) or (B, C)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from engine.fast.fusion import loops
from engine.fast.fusion.arrays import as_rows


def of_batch(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and biased variance, (C,), of x: bf16 (B, C, H, W), channels_last."""
    count = x.numel() // x.shape[1]
    origin = x.detach()[:1, :, 0, 0].float()
    sums, squares = (t.sum(0) / count for t in _moments(x, loops().PARTS, origin))
    return origin[0].double().numpy() + sums, np.maximum(squares - sums**2, 0)


def of_groups(x: Tensor, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and biased variance, (B, C), over the groups of channels of each image of x."""
    origin = x.detach()[:, :, 0, 0].float().contiguous()
    sums, squares = (t / x[0, 0].numel() for t in _moments(x, len(x), origin))
    means = sums + origin.numpy()
    mean = over_groups(means, groups, np.mean)
    variance = over_groups(squares - sums**2 + (means - mean) ** 2, groups, np.mean)
    return mean, np.maximum(variance, 0)


def running(norm: nn.BatchNorm2d) -> list[np.ndarray]:
    """Running mean and variance, (C,)."""
    return [t.detach().double().numpy() for t in (norm.running_mean, norm.running_var)]


def update_running(norm: nn.BatchNorm2d, mean: np.ndarray, var: np.ndarray, count: int) -> None:
    """Update the running statistics from those of a batch with `count` values per channel."""
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        unbiased = var * (count / (count - 1))
        for buffer, value in ((norm.running_mean, mean), (norm.running_var, unbiased)):
            buffer.lerp_(torch.from_numpy(value).to(buffer.dtype), norm.momentum)


def over_groups(values: np.ndarray, groups: int, reduce: Callable) -> np.ndarray:
    """(B, C) -> (B, C): each value replaced by the mean or sum (`reduce`) over its group."""
    batch, channels = values.shape
    grouped = values.reshape(batch, groups, channels // groups)
    reduced = np.broadcast_to(reduce(grouped, 2, keepdims=True), grouped.shape)
    return reduced.reshape(batch, channels)


def _moments(x: Tensor, parts: int, origin: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Sums of (x - origin) and of its squares, (parts, C), over parts of B · H · W."""
    rows = as_rows(x)
    sums, squares = np.zeros((2, parts, rows.shape[1]))
    loops().moments(rows, origin.numpy(), sums, squares)
    return sums, squares
