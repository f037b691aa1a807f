"""Grouped convolutions with few channels per group, computed with fewer and wider groups.

AMX multiplies 32 bf16 channels at a time; with fewer per group, the rest is padding. Groups are
merged up to 32 channels, with block-diagonal weights, to whose zeros no gradient flows back.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CHANNELS = 32  # bf16 input channels in one row of an AMX tile (64 bytes)


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether at least two groups of this layer fit in CHANNELS input channels."""
    return _merged_groups(conv) > 1


def convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """Convolve bf16 x (B, C, H, W) with bf16 weight (O, C / groups, K, L) -> (B, O, H', W')."""
    count = _merged_groups(conv)
    weight = merge(weight, conv.groups, count)
    shape = (conv.stride, conv.padding, conv.dilation, conv.groups // count)
    return torch.conv2d(x, weight, conv.bias, *shape)


def _merged_groups(conv: nn.Conv2d) -> int:
    """Number of groups merged into one; 1 if the groups are too wide to merge."""
    return math.gcd(conv.groups, CHANNELS // (conv.in_channels // conv.groups) or 1)


def merge(weight: Tensor, groups: int, count: int) -> Tensor:
    """Weight (O, I, K, L) of `groups` groups -> (O, count · I, K, L) of groups / count groups."""
    split = weight.unflatten(0, (groups // count, count, -1))  # (G, count, O / groups, I, K, L)
    square = torch.diag_embed(split.movedim(1, -1))  # (G, O / groups, I, K, L, count, count)
    return square.movedim((-2, -1), (1, 3)).flatten(3, 4).flatten(0, 2)
