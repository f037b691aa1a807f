"""3×3 convolutions as im2col and one matrix product, for small outputs.

Chellapilla, Puri, Simard 2006, "High Performance Convolutional Neural Networks for Document
Processing". For 4×4 outputs in bf16 and 2×2 outputs in fp32, PyTorch's convolution kernels take at
least twice as long, even counting im2col.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from engine.fast.conv.shapes import add_bias, is_small_map, output_size

MAX_POSITIONS = {torch.bfloat16: 16, torch.float32: 4}  # H' · W' of the output: 4×4, 2×2


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether the output is small enough for the dtype of x (B, C, H, W)."""
    return is_small_map(conv, x, MAX_POSITIONS[x.dtype])


def convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """Convolve x (B, I, H, W) with weight (O, I, 3, 3) of its dtype -> (B, O, H', W').

    The output is channels_last.
    """
    return add_bias(_Im2col.apply(x, weight, conv.stride[0]), conv.bias)


class _Im2col(torch.autograd.Function):
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
            grad_x = _input_grad(grad, x, weight, ctx.stride)
        if ctx.needs_input_grad[1]:
            columns, _ = _im2col(x, ctx.stride)
            rows = grad.permute(0, 2, 3, 1).reshape(len(columns), -1)
            outputs, inputs = weight.shape[:2]
            grad_weight = (rows.T @ columns).view(outputs, 3, 3, inputs).permute(0, 3, 1, 2)
        return grad_x, grad_weight, None


def _input_grad(grad: Tensor, x: Tensor, weight: Tensor, stride: int) -> Tensor:
    if x.dtype is torch.float32 and stride == 1:  # a convolution with the flipped filters
        columns, (batch, height, width) = _im2col(grad, 1)
        flipped = weight.flip(2, 3).permute(2, 3, 0, 1).reshape(columns.shape[1], -1)
        return (columns @ flipped).view(batch, height, width, -1).permute(0, 3, 1, 2)
    strides, ones, zeros = [stride] * 2, [1, 1], [0, 0]  # no slower than im2col in bf16
    return torch.ops.aten.convolution_backward(
        grad, x, weight, None, strides, ones, ones, False, zeros, 1, [True, False, False]
    )[0]


def _im2col(x: Tensor, stride: int) -> tuple[Tensor, tuple[int, int, int]]:
    """3×3 patches of x (B, I, H, W), padded by 1: (B · H' · W', 9 · I); and (B, H', W')."""
    batch, inputs = x.shape[:2]
    height, width = (output_size(size, stride) for size in x.shape[2:])
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    b, h, w, c = padded.stride()
    shape = (batch, height, width, 3, 3, inputs)
    patches = padded.as_strided(shape, (b, h * stride, w * stride, h, w, c))
    return patches.reshape(batch * height * width, 9 * inputs), (batch, height, width)
