"""Activations that are faster on a CPU: ELU and CELU in bf16, ReLU and leaky ReLU in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class FastELU(nn.ELU):
    def forward(self, x: Tensor) -> Tensor:
        return _ELU.apply(x) if _is_supported(self, x) else super().forward(x)


class FastCELU(nn.CELU):
    def forward(self, x: Tensor) -> Tensor:
        return _ELU.apply(x) if _is_supported(self, x) else super().forward(x)


def _is_supported(module: nn.ELU | nn.CELU, x: Tensor) -> bool:
    """Whether x is bf16 and α is 1, for which ELU and CELU are the same function."""
    return module.alpha == 1 and x.dtype is torch.bfloat16


class _ELU(torch.autograd.Function):
    """max(x, 0) + exp(min(x, 0)) - 1 of bf16 x (Clevert et al. 2015, arXiv 1511.07289).

    exp in fp32 is vectorized; expm1, which PyTorch's kernel calls, is not.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        negative = x.clamp(max=0).float().exp_().sub_(1)
        y = negative.add_(x.clamp(min=0)).to(x.dtype)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.elu_backward(grad, 1, 1, 1, True, y)


class InPlaceReLU(nn.ReLU):
    """ReLU that overwrites its input; its gradient is computed from its output.

    In the networks of engine.models the input comes from a convolution, a norm or an addition, none
    of which saves its output for the backward pass.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x, inplace=True)


class InPlaceLeakyReLU(nn.LeakyReLU):
    """Leaky ReLU that overwrites its input, under the conditions of InPlaceReLU."""

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x, self.negative_slope, inplace=True)
