"""1×1 convolutions as matrix products, with the weight gradient as a batched product.

The weight gradient is a small matrix whose elements are sums over all positions, 100,000 and more
in a batch. As one product it leaves cores idle; as a batch of PARTS products over a part of the
positions each, added up afterwards, it does not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

PARTS = 8  # products that the weight gradient is split into
MIN_POSITIONS = 16_384  # B · H · W from which on splitting is faster


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether this is a 1×1 convolution without groups and padding."""
    return conv.kernel_size == (1, 1) and conv.groups == 1 and conv.padding in ("valid", (0, 0))


def convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """x (B, I, H, W) by weight (O, I, 1, 1), both bf16: (B, O, H', W'), channels_last."""
    # Permuted before it is sliced: the gradient of the slice then has the layout of x.
    images = x.permute(0, 2, 3, 1)[:, :: conv.stride[0], :: conv.stride[1]]
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    # Flattened, as for strided rows `linear` would copy the weight and multiply row by row.
    out = _Linear.apply(images.flatten(0, 2), weight.flatten(1), bias)
    return out.unflatten(0, images.shape[:3]).permute(0, 3, 1, 2)


class _Linear(torch.autograd.Function):
    """rows (N, I) @ weight (O, I).T + bias (O,), of one dtype: (N, O)."""

    @staticmethod
    def forward(ctx, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return F.linear(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        needs_rows, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            grad @ weight if needs_rows else None,
            _weight_grad(grad, rows) if needs_weight else None,
            grad.sum(0) if needs_bias else None,
        )


def _weight_grad(grad: Tensor, rows: Tensor) -> Tensor:
    if len(rows) < MIN_POSITIONS or len(rows) % PARTS:
        return grad.T @ rows
    grad, rows = (t.reshape(PARTS, len(t) // PARTS, t.shape[1]) for t in (grad, rows))
    return (grad.mT @ rows).sum(0)
