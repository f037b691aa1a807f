"""3×3 convolutions in fp32 by Winograd's minimal filtering, F(4×4, 3×3).

Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308, section
4.3: an output tile of 4×4 is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, where g is the 3×3 filter, d the 6×6 input
tile, and ⊙ a matrix product over the channels at each of the 36 elements. It takes 36
multiplications per channel pair and tile where direct convolution, as in oneDNN's kernel, takes
144. Outputs differ from that kernel's by about 1e-6, relative.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from engine.fast.conv.shapes import add_bias

TILE, PATCH = 4, 6  # side of an output tile and of its input tile, in pixels
# Smaller layers were no faster than with oneDNN: the transforms cost more than they save.
MIN_CHANNEL_PRODUCT = 128 * 128  # input channels × output channels
MIN_TILES = 32  # output tiles in the batch, over which the filter transform is amortized
CACHE_BYTES = 2 * 2**20  # transformed tiles that a core works on at once: its L2 cache

# fmt: off
_B = torch.tensor([
    [4,  0, -5,  0, 1, 0],
    [0, -4, -4,  1, 1, 0],
    [0,  4, -4, -1, 1, 0],
    [0, -2, -1,  2, 1, 0],
    [0,  2, -1, -2, 1, 0],
    [0,  4,  0, -5, 0, 1],
], dtype=torch.float64)
_G = torch.tensor([
    [6,  0, 0],
    [-4, -4, -4],
    [-4,  4, -4],
    [1,  2, 4],
    [1, -2, 4],
    [0,  0, 24],
], dtype=torch.float64) / 24
_A = torch.tensor([
    [1, 1,  1, 1,  1, 0],
    [0, 1, -1, 2, -2, 0],
    [0, 1,  1, 4,  4, 0],
    [0, 1, -1, 8, -8, 1],
], dtype=torch.float64)
# fmt: on
# X ↦ M X Mᵀ as one matrix, on flattened tiles: (36, 36), (36, 9) and (16, 36).
INPUT_TRANSFORM, FILTER_TRANSFORM, OUTPUT_TRANSFORM = (
    torch.kron(m, m).float() for m in (_B, _G, _A)
)


def applies(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether there are enough channels and tiles, and little padding in the tiles."""
    batch, _, height, width = x.shape
    tiles = _tiles(height) * _tiles(width)
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.in_channels * conv.out_channels >= MIN_CHANNEL_PRODUCT
        and 2 * tiles * PATCH**2 <= 9 * height * width  # at most half the multiplications
        and batch * tiles >= MIN_TILES
        and not torch.compiler.is_compiling()
    )


def convolve(conv: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """Convolve fp32 x (B, I, H, W) with fp32 weight (O, I, 3, 3) -> (B, O, H, W), channels_last."""
    return add_bias(_Winograd.apply(x, weight, torch.is_grad_enabled()), conv.bias)


class _Winograd(torch.autograd.Function):
    """Processes as many images at a time as fit in the cache.

    Tiles are laid out as (36, B · tiles · C): each transform is one matrix product, and the product
    over the channels is a batch of 36.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, keep: bool) -> Tensor:
        batch, inputs, height, width = x.shape
        outputs = len(weight)
        tiles = _tiles(height), _tiles(width)
        filters = _filters(weight)
        y = x.new_empty(batch, height, width, outputs)
        ctx.count = images_at_once(tiles, inputs, outputs)
        kept = []
        for part, into in zip(x.split(ctx.count), y.split(ctx.count), strict=True):
            patches = (INPUT_TRANSFORM @ _patches(part, tiles)).view(36, -1, inputs)
            if keep:
                kept.append(patches)
            out = OUTPUT_TRANSFORM @ torch.bmm(patches, filters.transpose(1, 2)).view(36, -1)
            out = out.view(TILE, TILE, len(part), *tiles, outputs).permute(2, 3, 0, 4, 1, 5)
            if into.shape[1:3] == (TILE * tiles[0], TILE * tiles[1]):
                into.view(out.shape).copy_(out)
            else:
                into.copy_(out.flatten(1, 2).flatten(2, 3)[:, :height, :width])
        ctx.save_for_backward(weight, *kept)
        ctx.size = x.shape
        return y.permute(0, 3, 1, 2)  # channels_last

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """The forward pass transposed, transform by transform."""
        weight, *kept = ctx.saved_tensors
        batch, inputs, height, width = ctx.size
        outputs, tiles = len(weight), (_tiles(height), _tiles(width))
        needs_x, needs_weight, _ = ctx.needs_input_grad
        filters = _filters(weight) if needs_x else None
        grad_filters = None
        grad_x = grad.new_empty(batch, height, width, inputs) if needs_x else None
        padding = (0, 0, 0, TILE * tiles[1] - width, 0, TILE * tiles[0] - height)
        parts = grad.permute(0, 2, 3, 1).split(ctx.count)
        for number, (part, patches) in enumerate(zip(parts, kept, strict=True)):
            part = F.pad(part, padding) if any(padding) else part
            part = part.reshape(len(part), tiles[0], TILE, tiles[1], TILE, outputs)
            part = part.permute(2, 4, 0, 1, 3, 5).reshape(TILE**2, -1)
            products = (OUTPUT_TRANSFORM.T @ part).view(36, -1, outputs)
            if needs_weight:
                term = torch.bmm(products.transpose(1, 2), patches)
                grad_filters = term if grad_filters is None else grad_filters.add_(term)
            if needs_x:
                grad_patches = INPUT_TRANSFORM.T @ torch.bmm(products, filters).view(36, -1)
                into = grad_x[number * ctx.count :][: ctx.count]
                overlapped = _overlap_add(grad_patches, len(into), tiles)
                into.copy_(overlapped[:, 1 : height + 1, 1 : width + 1])
        grad_weight = None
        if needs_weight:
            grad_weight = FILTER_TRANSFORM.T @ grad_filters.view(36, -1)
            grad_weight = grad_weight.view(3, 3, outputs, inputs).permute(2, 3, 0, 1)
        return grad_x if grad_x is None else grad_x.permute(0, 3, 1, 2), grad_weight, None


def _tiles(size: int) -> int:
    return -(-size // TILE)


def _filters(weight: Tensor) -> Tensor:
    """Transformed filters: (O, I, 3, 3) -> (36, O, I)."""
    return (FILTER_TRANSFORM @ weight.permute(2, 3, 0, 1).reshape(9, -1)).view(
        36, *weight.shape[:2]
    )


def images_at_once(tiles: tuple[int, int], inputs: int, outputs: int) -> int:
    """Number of images whose tiles fit in the cache, or take as much memory as the filters."""
    image = 4 * PATCH**2 * tiles[0] * tiles[1] * max(inputs, outputs)  # bytes
    filters = 4 * PATCH**2 * inputs * outputs  # bytes, read and written once for every part
    return max(1, max(CACHE_BYTES * torch.get_num_threads(), filters) // image)


def _patches(x: Tensor, tiles: tuple[int, int]) -> Tensor:
    """6×6 input tiles of x (B, C, H, W), overlapping by two pixels: (36, B · tiles · C)."""
    height, width = x.shape[2:]
    padding = (1, TILE * tiles[1] + 1 - width, 1, TILE * tiles[0] + 1 - height)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, *padding))
    b, h, w, c = padded.stride()
    shape = (PATCH, PATCH, len(x), *tiles, x.shape[1])
    return padded.as_strided(shape, (h, w, b, TILE * h, TILE * w, c)).reshape(PATCH**2, -1)


def _overlap_add(patches: Tensor, batch: int, tiles: tuple[int, int]) -> Tensor:
    """Transpose of _patches: (36, B · tiles · C) added up to (B, H, W, C), padding included."""
    patches = patches.view(PATCH, PATCH, batch, *tiles, -1)
    channels = patches.shape[-1]
    total = patches.new_zeros(batch, *(TILE * n + PATCH - TILE for n in tiles), channels)
    b, h, w, c = total.stride()
    spans = (0, TILE), (TILE, PATCH)  # tiles overlap, but equal spans of them do not
    for top, bottom in spans:
        for left, right in spans:
            shape = (batch, tiles[0], bottom - top, tiles[1], right - left, channels)
            strides = (b, TILE * h, h, TILE * w, w, c)
            target = total.as_strided(shape, strides, top * h + left * w)
            target.add_(patches[top:bottom, left:right].permute(2, 3, 0, 4, 1, 5))
    return total
