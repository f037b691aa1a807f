"""Shape conditions and bias addition, shared by several algorithms."""

from __future__ import annotations

from torch import Tensor, nn

MIN_CHANNELS = 128  # input and output channels; with fewer the matrix products are too small


def is_small_map(conv: nn.Conv2d, x: Tensor, positions: int) -> bool:
    """Whether this is a 3×3 convolution of many channels whose output has at most `positions`.

    positions: H' · W'. The padding must be 1, and the vertical and horizontal strides equal.
    """
    height, width = (output_size(size, conv.stride[0]) for size in x.shape[2:])
    return (
        height * width <= positions
        and conv.kernel_size == (3, 3)
        and conv.stride[0] == conv.stride[1]
        and conv.padding == conv.dilation == (1, 1)
        and conv.groups == 1
        and min(conv.in_channels, conv.out_channels) >= MIN_CHANNELS
    )


def output_size(size: int, stride: int) -> int:
    """Output height or width of a 3×3 convolution with padding 1, from that of the input."""
    return (size - 1) // stride + 1


def add_bias(out: Tensor, bias: Tensor | None) -> Tensor:
    """out (B, C, H, W) + bias (C,), in the dtype of out."""
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]
