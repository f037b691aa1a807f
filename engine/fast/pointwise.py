"""1×1 convolutions as matrix products, whose weight gradient sums over very many positions.

The product that gives it is small, and each of its elements is a sum of 100,000s of terms: it is
faster as a few such products, of a part of the positions each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

PARTS = 8
MANY = 16_384  # positions, from which on it pays


def product(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """rows (N, I) by the transpose of weight (O, I), plus bias (O,), of one type: (N, O)."""
    return _Product.apply(rows, weight, bias)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return F.linear(rows, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        rows, weight = ctx.saved_tensors
        of_rows, of_weight, of_bias = ctx.needs_input_grad
        return (
            grad @ weight if of_rows else None,
            _grad_of_weight(grad, rows) if of_weight else None,
            grad.sum(0) if of_bias else None,
        )


def _grad_of_weight(grad: Tensor, rows: Tensor) -> Tensor:
    if len(rows) < MANY or len(rows) % PARTS:
        return grad.T @ rows
    parts = [t.reshape(PARTS, len(t) // PARTS, t.shape[1]) for t in (grad, rows)]
    return (parts[0].mT @ parts[1]).sum(0)
