"""Grouped convolutions of few channels a group, as ones of fewer groups.

The instructions for bf16 take 32 channels at a time: with fewer in a group most of their work is
with zeros anyway. Groups are merged until they have as many; filters are 0 where there was no
connection, and no gradient comes from there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

CHANNELS = 32  # of a group, that one instruction takes


def at_once(conv: nn.Conv2d) -> int:
    """How many groups of this layer to make one of; 1 where nothing is gained."""
    return math.gcd(conv.groups, CHANNELS // (conv.in_channels // conv.groups) or 1)


def merge(weight: Tensor, groups: int, count: int) -> Tensor:
    """Filters (O, I, K, L) of so many groups -> (O, count · I, K, L), of groups / count groups."""
    apart = weight.unflatten(0, (groups // count, count, -1))  # of (G, count, O / G, I, K, L)
    square = torch.diag_embed(apart.movedim(1, -1))  # (G, O / G, I, K, L, count, count)
    return square.movedim((-2, -1), (1, 3)).flatten(3, 4).flatten(0, 2)
