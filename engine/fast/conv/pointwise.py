"""1×1 convolutions as matrix products, with a batched product for the weight gradient.

The weight gradient is a small matrix of sums over all positions of a batch, 100,000 or more. A
single product leaves cores idle; a batch of PARTS products, each over a part of the positions and
summed afterwards (split-K), keeps them busy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

PARTS = 8  # matrix products that the weight gradient is split into
MIN_POSITIONS = 16_384  # smallest B · H · W at which splitting is faster


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether this is a 1×1 convolution without groups or padding."""
    return conv.kernel_size == (1, 1) and conv.groups == 1 and conv.padding in ("valid", (0, 0))


def convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """Convolve bf16 x (B, I, H, W) with bf16 weight (O, I, 1, 1) -> (B, O, H', W').

    The output is channels_last.
    """
    # Permute before slicing, so that the gradient of the slice has the layout of x.
    images = x.permute(0, 2, 3, 1)[:, :: conv.stride[0], :: conv.stride[1]]
    bias = None if conv.bias is None else conv.bias.to(x.dtype)
    # Flatten: for strided rows, `linear` would copy the weight and multiply row by row.
    out = _Linear.apply(images.flatten(0, 2), weight.flatten(1), bias)
    return out.unflatten(0, images.shape[:3]).permute(0, 3, 1, 2)


class _Linear(torch.autograd.Function):
    """rows (N, I) @ weight (O, I).T + bias (O,), all of one dtype: (N, O)."""

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
