"""1×1 convolutions as matrix products, whose weight gradient sums over very many positions.

The product that gives it is small, and each of its elements is a sum of 100,000s of terms: it is
faster as a few such products, of a part of the positions each.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PARTS = 8
MANY = 16_384  # positions, from which on it pays


def product(rows: Tensor, weight: Tensor) -> Tensor:
    """rows (N, I) by the transpose of weight (O, I): (N, O)."""
    return _Product.apply(rows, weight)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return rows @ weight.T

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        rows, weight = ctx.saved_tensors
        grad_rows = grad @ weight if ctx.needs_input_grad[0] else None
        grad_weight = _grad_of_weight(grad, rows) if ctx.needs_input_grad[1] else None
        return grad_rows, grad_weight


def _grad_of_weight(grad: Tensor, rows: Tensor) -> Tensor:
    if len(rows) < MANY or len(rows) % PARTS:
        return grad.T @ rows
    parts = [t.reshape(PARTS, len(t) // PARTS, t.shape[1]) for t in (grad, rows)]
    return (parts[0].mT @ parts[1]).sum(0)
