"""3×3 convolutions of small maps, several images side by side in one row.

Convolution kernels work along a row of the map: with 8 positions and fewer they run at a fraction
of their speed, the gradient of the weights at a tenth of it. A few images beside one another make
one wide map; columns of zeros between them stand for the padding of each.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.fast.small_maps import fits, outputs

SMALL_MAP = 64  # positions of an output: 8×8
ROW = 48  # positions of an output row of several images, about


def pays(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether `convolve` is the faster way for this layer and these images, in bf16."""
    width = outputs(x.shape[3], conv.stride[0]) + 1
    return fits(conv, x, SMALL_MAP) and _images_in_a_row(len(x), width) > 1


def convolve(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """3×3 convolution with padding 1 of x (B, I, H, W) and weight (O, I, 3, 3) of one type."""
    return _SideBySide.apply(x, weight, stride)


class _SideBySide(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.stride, ctx.width = stride, x.shape[3]
        width = outputs(x.shape[3], stride)
        ctx.images = _images_in_a_row(len(x), width + 1)
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
        wanted = [*ctx.needs_input_grad[:2], False]
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            wide_grad, wide_x, weight, None, strides, ones, ones, False, zeros, 1, wanted
        )
        if grad_x is not None:
            grad_x = _split(grad_x, ctx.images, ctx.width)
        return grad_x, grad_weight, None


def _images_in_a_row(batch: int, width: int) -> int:
    """A power of two that divides the batch, for rows of at most ROW positions."""
    images = 1
    while batch % (2 * images) == 0 and 2 * images * width <= ROW:
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
    """(B / images, C, H, images · any width) -> (B, C, H, width), channels_last: undoes `_join`."""
    rows = wide.permute(0, 2, 3, 1).unflatten(2, (images, -1))[:, :, :, :width]
    return rows.transpose(1, 2).flatten(0, 1).contiguous().permute(0, 3, 1, 2)
