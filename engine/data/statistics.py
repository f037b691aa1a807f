"""Per-channel statistics of a training set, for the networks' input normalization."""

import torch
from torch import Tensor

Triple = tuple[float, float, float]
MIN_STD = 1 / 255  # one grey level: images of a single colour must not divide by zero


def channel_statistics(images: Tensor) -> tuple[Triple, Triple]:
    """Mean and std of each channel of uint8 [N, 3, H, W], over all pixels, as values in 0..1."""
    means, stds = [], []
    levels = torch.arange(256, dtype=torch.float64) / 255
    for channel in range(3):
        # Counting the 256 levels is exact and needs no float copy of the images.
        counts = torch.bincount(images[:, channel].flatten(), minlength=256).double()
        weights = counts / counts.sum()
        mean = (weights * levels).sum()
        std = (weights * (levels - mean) ** 2).sum().sqrt()
        means.append(mean.item())
        stds.append(max(std.item(), MIN_STD))
    return tuple(means), tuple(stds)
