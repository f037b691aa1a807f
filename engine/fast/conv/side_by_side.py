"""3×3 convolutions of small feature maps, with several images side by side in one wide map.

oneDNN's kernels work along the rows of a map. With rows of 8 positions or fewer they reach a
fraction of their peak speed, and a tenth of it for the weight gradient. So several images are
placed side by side in one wide map, separated by columns of zeros that serve as their padding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.fast.conv.shapes import add_bias, is_small_map, output_size

MAX_POSITIONS = 64  # H' · W' of an image's output: 8×8
MAX_ROW = 48  # positions of an output row, over all images in it and the zeros between them


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether the output is small and at least two images of x (B, C, H, W) fit in a row."""
    width = output_size(x.shape[3], conv.stride[0]) + 1
    return is_small_map(conv, x, MAX_POSITIONS) and _images_in_row(len(x), width) > 1


def convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """Convolve bf16 x (B, I, H, W) with bf16 weight (O, I, 3, 3) -> (B, O, H', W').

    The output is channels_last.
    """
    return add_bias(_SideBySide.apply(x, weight, conv.stride[0]), conv.bias)


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.stride, ctx.width = stride, x.shape[3]
        width = output_size(x.shape[3], stride)
        ctx.images = _images_in_row(len(x), width + 1)
        wide = _join(x, ctx.images, stride * (width + 1))
        ctx.save_for_backward(wide, weight)
        out = torch.conv2d(wide, weight, stride=stride, padding=1)
        return _split(out, ctx.images, width)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        wide_x, weight = ctx.saved_tensors
        wide_grad = _join(grad, ctx.images, grad.shape[3] + 1)
        strides, ones, zeros = [ctx.stride] * 2, [1, 1], [0, 0]
        mask = [*ctx.needs_input_grad[:2], False]
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            wide_grad, wide_x, weight, None, strides, ones, ones, False, zeros, 1, mask
        )
        if grad_x is not None:
            grad_x = _split(grad_x, ctx.images, ctx.width)
        return grad_x, grad_weight, None


def _images_in_row(batch: int, width: int) -> int:
    """Largest power of two that divides the batch and keeps rows within MAX_ROW positions."""
    images = 1
    while batch % (2 * images) == 0 and 2 * images * width <= MAX_ROW:
        images *= 2
    return images


def _join(x: Tensor, images: int, width: int) -> Tensor:
    """(B, C, H, W) -> (B / images, C, H, images · width), channels_last; zeros after each image."""
    batch, channels, height, old = x.shape
    wide = x.new_empty(batch // images, height, images, width, channels)
    wide[:, :, :, :old] = x.permute(0, 2, 3, 1).unflatten(0, (-1, images)).transpose(1, 2)
    wide[:, :, :, old:] = 0
    return wide.flatten(2, 3).permute(0, 3, 1, 2)


def _split(wide: Tensor, images: int, width: int) -> Tensor:
    """Inverse of _join: (B / images, C, H, images · W') -> (B, C, H, width), channels_last."""
    rows = wide.permute(0, 2, 3, 1).unflatten(2, (images, -1))[:, :, :, :width]
    return rows.transpose(1, 2).flatten(0, 1).contiguous().permute(0, 3, 1, 2)
