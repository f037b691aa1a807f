"""Depthwise convolutions whose gradients are computed by forward convolutions.

PyTorch's backward kernels for them are several times slower than its forward kernel.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.fast.conv.shapes import add_bias

# Images per weight-gradient convolution; few enough to stay in cache: the whole batch at once took
# 50 % longer.
IMAGES = 32


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether this is a depthwise convolution of stride 1 with an odd kernel and same padding."""
    height, width = conv.kernel_size
    same = (height // 2, width // 2)
    return (
        conv.groups == conv.in_channels == conv.out_channels > 1
        and height % 2 == width % 2 == 1
        and conv.padding in ("same", same)
        and conv.stride == conv.dilation == (1, 1)
    )


def convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """Convolve bf16 x (B, C, H, W) with bf16 weight (C, 1, K, L) -> (B, C, H, W)."""
    return add_bias(_Depthwise.apply(x, weight), conv.bias)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _conv_same(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _conv_same(grad, weight.flip(2, 3))
        if ctx.needs_input_grad[1]:
            parts = zip(x.split(IMAGES), grad.split(IMAGES), strict=True)
            grad_weight = sum(_weight_grad(*part, weight) for part in parts).to(weight.dtype)
        return grad_x, grad_weight


def _conv_same(x: Tensor, weight: Tensor, kernel: tuple[int, int] | None = None) -> Tensor:
    """Depthwise convolution, padded for `kernel`, (height, width); default: the weight's."""
    height, width = kernel or weight.shape[2:]
    return torch.conv2d(x, weight, padding=(height // 2, width // 2), groups=x.shape[1])


def _weight_grad(x: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """(C, 1, K, L) in fp32: each channel of each image is convolved with its own gradient."""
    batch, channels, height, width = x.shape
    images = x.permute(2, 3, 0, 1).reshape(1, height, width, -1).permute(0, 3, 1, 2)
    filters = grad.permute(2, 3, 0, 1).reshape(height, width, -1, 1).permute(2, 3, 0, 1)
    per_image = _conv_same(images, filters, weight.shape[2:])  # (1, B · C, K, L)
    per_image = per_image.view(batch, channels, *weight.shape[2:])
    return per_image.sum(0, dtype=torch.float32).unsqueeze(1)
