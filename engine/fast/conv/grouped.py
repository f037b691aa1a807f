"""Grouped convolutions with few channels per group, computed with fewer and wider groups.

bf16 instructions multiply 32 channels at a time: with fewer in a group they multiply zeros. Groups
are merged until they have 32 channels; between merged groups the weights are zero, and no gradient
flows back to those zeros.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CHANNELS = 32  # input channels of a group that one AMX tile row holds (64 bytes of bf16)


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether at least two groups of this layer fit in CHANNELS input channels."""
    return _merged_groups(conv) > 1


def convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """x (B, C, H, W) by weight (O, I, K, L), both bf16, where I = C / groups: (B, O, H', W')."""
    count = _merged_groups(conv)
    weight = merge(weight, conv.groups, count)
    shape = (conv.stride, conv.padding, conv.dilation, conv.groups // count)
    return torch.conv2d(x, weight, conv.bias, *shape)


def _merged_groups(conv: nn.Conv2d) -> int:
    """Number of groups that are merged into one; 1 where merging gains nothing."""
    return math.gcd(conv.groups, CHANNELS // (conv.in_channels // conv.groups) or 1)


def merge(weight: Tensor, groups: int, count: int) -> Tensor:
    """Weight (O, I, K, L) of `groups` groups -> (O, count · I, K, L) of groups / count groups."""
    split = weight.unflatten(0, (groups // count, count, -1))  # (G, count, O / groups, I, K, L)
    square = torch.diag_embed(split.movedim(1, -1))  # (G, O / groups, I, K, L, count, count)
    return square.movedim((-2, -1), (1, 3)).flatten(3, 4).flatten(0, 2)
