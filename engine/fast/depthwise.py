"""Depthwise convolutions, whose gradients come from kernels several times slower than forward's."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

IMAGES_AT_ONCE = 32  # a whole batch does not stay in the caches, and takes half as long again


def pays(conv: nn.Conv2d) -> bool:
    """Whether `convolve` is made for this layer: odd kernels that leave the map's size as it is."""
    height, width = conv.kernel_size
    same = (height // 2, width // 2)
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and height % 2 == width % 2 == 1
        and conv.padding in ("same", same)
        and conv.stride == conv.dilation == (1, 1)
    )


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """Depthwise convolution of x (B, C, H, W) by weight (C, 1, K, L), of one type: (B, C, H, W)."""
    return _Depthwise.apply(x, weight)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _same(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _same(grad, weight.flip(2, 3))
        if ctx.needs_input_grad[1]:
            parts = zip(x.split(IMAGES_AT_ONCE), grad.split(IMAGES_AT_ONCE), strict=True)
            grad_weight = sum(_grad_of_weight(*part, weight) for part in parts).to(weight.dtype)
        return grad_x, grad_weight


def _same(x: Tensor, weight: Tensor, kernel: tuple[int, int] | None = None) -> Tensor:
    height, width = kernel or weight.shape[2:]
    return torch.conv2d(x, weight, padding=(height // 2, width // 2), groups=x.shape[1])


def _grad_of_weight(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """(C, 1, K, L) in fp32: every channel of an image, with its own gradient as the filter."""
    batch, channels, height, width = x.shape
    rows = x.permute(2, 3, 0, 1).reshape(1, height, width, -1).permute(0, 3, 1, 2)
    filters = grad.permute(2, 3, 0, 1).reshape(height, width, -1, 1).permute(2, 3, 0, 1)
    each = _same(rows, filters, weight.shape[2:])  # (1, B · C, K, L)
    return each.view(batch, channels, *weight.shape[2:]).sum(0, dtype=torch.float32).unsqueeze(1)
