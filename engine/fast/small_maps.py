"""3×3 convolutions as matrix products, for outputs of few positions.

Convolution kernels are made for large maps: at 4×4 in bf16 and at 2×2 in fp32 they run at half the
speed of the same product or less, im2col included (Chellapilla et al. 2006).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SMALL_MAP = {torch.bfloat16: 16, torch.float32: 4}  # positions of an output: 4×4, 2×2
FEW_CHANNELS = 128  # below it a matrix product has too little to do


def pays(conv: nn.Conv2d, x: Tensor, dtype: torch.dtype) -> bool:
    """Whether `product` is the faster way for this layer and these images, computed in `dtype`."""
    return fits(conv, x, SMALL_MAP[dtype])


def fits(conv: nn.Conv2d, x: Tensor, positions: int) -> bool:
    """Whether this is a 3×3 convolution of many channels to at most so many positions."""
    height, width = (outputs(size, conv.stride[0]) for size in x.shape[2:])
    return (
        height * width <= positions
        and conv.kernel_size == (3, 3)
        and conv.stride[0] == conv.stride[1]
        and conv.padding == conv.dilation == (1, 1)
        and conv.groups == 1
        and min(conv.in_channels, conv.out_channels) >= FEW_CHANNELS
    )


def outputs(size: int, stride: int) -> int:
    """Positions of an output along a side of the input, for a 3×3 kernel and a padding of 1."""
    return (size - 1) // stride + 1


def product(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """3×3 convolution with padding 1 of x (B, I, H, W) and weight (O, I, 3, 3) of one type."""
    return _Product.apply(x, weight, stride)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        columns, (batch, height, width) = _im2col(x, stride)
        out = columns @ weight.permute(0, 2, 3, 1).flatten(1).T
        return out.view(batch, height, width, -1).permute(0, 3, 1, 2)  # channels_last

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = _grad_of_input(grad, x, weight, ctx.stride)
        if ctx.needs_input_grad[1]:
            columns, _ = _im2col(x, ctx.stride)
            rows = grad.permute(0, 2, 3, 1).reshape(len(columns), -1)
            outputs, inputs = weight.shape[:2]
            grad_weight = (rows.T @ columns).view(outputs, 3, 3, inputs).permute(0, 3, 1, 2)
        return grad_x, grad_weight, None


def _grad_of_input(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    if x.dtype is torch.float32 and stride == 1:  # again a convolution, with the filters mirrored
        columns, (batch, height, width) = _im2col(grad, 1)
        mirrored = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(columns.shape[1], -1)
        return (columns @ mirrored).view(batch, height, width, -1).permute(0, 3, 1, 2)
    strides, ones, zeros = [stride] * 2, [1, 1], [0, 0]  # in bf16 this kernel is no slower
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, strides, ones, ones, False, zeros, 1, [True, False, False]
    )[0]


def _im2col(x: Tensor, stride: int) -> tuple[Tensor, tuple[int, int, int]]:
    """The 3×3 patches of x (B, I, H, W), padded by 1: (B·H'·W', 9·I), and (B, H', W')."""
    batch, inputs = x.shape[:2]
    height, width = (outputs(size, stride) for size in x.shape[2:])
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    b, h, w, c = padded.stride()
    shape = (batch, height, width, 3, 3, inputs)
    patches = padded.as_strided(shape, (b, h * stride, w * stride, h, w, c))
    return patches.reshape(batch * height * width, 9 * inputs), (batch, height, width)
