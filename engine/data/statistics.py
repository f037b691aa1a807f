"""Per-channel mean and standard deviation of a training set."""

import torch
from torch import Tensor

Triple = tuple[float, float, float]
MIN_STD = 1 / 255  # one gray level; avoids division by zero for uniform images


def channel_statistics(images: Tensor) -> tuple[Triple, Triple]:
    """Mean and std of each channel of uint8 [N, 3, H, W], over all pixels, scaled to 0…1."""
    means, stds = [], []
    levels = torch.arange(256, dtype=torch.float64) / 255
    for channel in range(3):
        # A histogram of the 256 levels is exact and needs no float copy of the images.
        counts = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        weights = counts / counts.sum()
        mean = (weights * levels).sum()
        std = (weights * (levels - mean) ** 2).sum().sqrt()
        means.append(mean.item())
        stds.append(max(std.item(), MIN_STD))
    return tuple(means), tuple(stds)
