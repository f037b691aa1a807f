"""Convolutions that choose an algorithm by the shapes of the layer and its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Algorithm(NamedTuple):
    """One way to compute a convolution, forward and backward."""

    # (layer, x) -> whether `convolve` may be used for x (B, C, H, W) and is faster there
    applies: Callable[[nn.Conv2d, Tensor], bool]
    # (layer, x, weight) -> output with bias; x and weight have the layer's compute dtype
    convolve: Callable[[nn.Conv2d, Tensor, Tensor], Tensor]


class FastConv(nn.Conv2d):
    """An nn.Conv2d computed by the first of `algorithms` that applies to its input.

    Subclasses define the dtype that the algorithms compute in.
    """

    algorithms: tuple[Algorithm, ...] = ()  # set per instance by the registry, fastest first

    def choose(self, x: Tensor) -> Algorithm | None:
        """Algorithm for x (B, C, H, W) in the compute dtype; None: PyTorch's own kernel."""
        return next((a for a in self.algorithms if a.applies(self, x)), None)


class Bf16Conv(FastConv):
    """Computes in bf16 under autocast; without autocast it is a plain nn.Conv2d."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu") or self.padding_mode != "zeros":
            return super().forward(x)
        x, weight = x.to(torch.bfloat16), self.weight.to(torch.bfloat16)
        if (algorithm := self.choose(x)) is None:
            return self._conv_forward(x, weight, self.bias)
        return algorithm.convolve(self, x, weight)


class Fp32Conv(FastConv):
    """Computes in fp32; under autocast, and in fp64, it is a plain nn.Conv2d."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is not torch.float32 or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        if (algorithm := self.choose(x)) is None:
            return super().forward(x)
        return algorithm.convolve(self, x, self.weight)
