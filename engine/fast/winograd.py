"""3×3 convolutions in fp32 on a CPU with a quarter of the multiplications.

Lavin and Gray 2015, "Fast Algorithms for Convolutional Neural Networks", arXiv 1509.09308: an
output tile of 4×4 is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A, where g is the 3×3 filter, d the 6×6 input tile and
⊙ a product of matrices over the channels (section 4.3: F(4×4, 3×3)). 36 multiplications do the work
of 144; PyTorch's own kernel does all of those, at nearly the speed of a matrix product. Results
differ from it by some 1e-6 of their size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

TILE, PATCH = 4, 6  # pixels a side: of an output tile, of the input it depends on
# Below it moving tiles about costs more than is saved; so do few tiles, for the filters' part.
MIN_CHANNEL_PRODUCT = 128 * 128
MIN_TILES = 32
CACHE_BYTES = 2 * 2**20  # of tiles that a core works on at once: about its second-level cache

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
# On a flattened tile, X ↦ M X Mᵀ is one matrix.
INPUTS, FILTERS, OUTPUTS = (torch.kron(m, m).float() for m in (_B, _G, _A))


def pays(conv: nn.Conv2d, x: Tensor) -> bool:
    """Whether `convolve` is the faster way for this layer and these images."""
    batch, _, height, width = x.shape
    tiles = _tiles(height) * _tiles(width)
    return (
        conv.kernel_size == (3, 3)
        and conv.stride == conv.padding == conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.in_channels * conv.out_channels >= MIN_CHANNEL_PRODUCT
        and 2 * tiles * PATCH**2 <= 9 * height * width  # half the multiplications, or fewer
        and batch * tiles >= MIN_TILES
        and not torch.compiler.is_compiling()
    )


def convolve(x: Tensor, weight: Tensor) -> Tensor:
    """3×3 convolution with padding 1 of x (B, I, H, W) and weight (O, I, 3, 3), both fp32."""
    return _Winograd.apply(x, weight, torch.is_grad_enabled())


class _Winograd(torch.autograd.Function):
    """Some images at a time, whose tiles stay in the cache.

    A tile's 36 places come first: every transform is then one matrix product, and what is between
    them is 36 of them.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, keep: bool) -> Tensor:
        batch, inputs, height, width = x.shape
        outputs = len(weight)
        tiles = _tiles(height), _tiles(width)
        filters = _filters(weight)
        y = x.new_empty(batch, height, width, outputs)
        ctx.count = _images_at_once(tiles, inputs, outputs)
        kept = []
        for part, into in zip(x.split(ctx.count), y.split(ctx.count), strict=True):
            patches = (INPUTS @ _patches(part, tiles)).view(36, -1, inputs)
            if keep:
                kept.append(patches)
            out = OUTPUTS @ torch.bmm(patches, filters.transpose(1, 2)).view(36, -1)
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
        """Every transform, transposed."""
        weight, *kept = ctx.saved_tensors
        batch, inputs, height, width = ctx.size
        outputs, tiles = len(weight), (_tiles(height), _tiles(width))
        of_x, of_weight, _ = ctx.needs_input_grad
        filters = _filters(weight) if of_x else None
        grad_filters = None
        grad_x = grad.new_empty(batch, height, width, inputs) if of_x else None
        beside = (0, 0, 0, TILE * tiles[1] - width, 0, TILE * tiles[0] - height)
        parts = grad.permute(0, 2, 3, 1).split(ctx.count)
        for number, (part, patches) in enumerate(zip(parts, kept, strict=True)):
            part = F.pad(part, beside) if any(beside) else part
            part = part.reshape(len(part), tiles[0], TILE, tiles[1], TILE, outputs)
            part = part.permute(2, 4, 0, 1, 3, 5).reshape(TILE**2, -1)
            products = (OUTPUTS.T @ part).view(36, -1, outputs)
            if of_weight:
                more = torch.bmm(products.transpose(1, 2), patches)
                grad_filters = more if grad_filters is None else grad_filters.add_(more)
            if of_x:
                moved = INPUTS.T @ torch.bmm(products, filters).view(36, -1)
                into = grad_x[number * ctx.count :][: ctx.count]
                into.copy_(_overlapped(moved, len(into), tiles)[:, 1 : height + 1, 1 : width + 1])
        grad_weight = None
        if of_weight:
            grad_weight = FILTERS.T @ grad_filters.view(36, -1)
            grad_weight = grad_weight.view(3, 3, outputs, inputs).permute(2, 3, 0, 1)
        return grad_x if grad_x is None else grad_x.permute(0, 3, 1, 2), grad_weight, None


def _tiles(size: int) -> int:
    return -(-size // TILE)


def _filters(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) -> (36, O, I): what each place of a tile is multiplied by."""
    return (FILTERS @ weight.permute(2, 3, 0, 1).reshape(9, -1)).view(36, *weight.shape[:2])


def _images_at_once(tiles: tuple[int, int], inputs: int, outputs: int) -> int:
    """How many images' tiles fit in the cache; more where filters are larger than those."""
    image = 4 * PATCH**2 * tiles[0] * tiles[1] * max(inputs, outputs)  # bytes
    filters = 4 * PATCH**2 * inputs * outputs  # read and written once for every part
    return max(1, max(CACHE_BYTES * torch.get_num_threads(), filters) // image)


def _patches(x: Tensor, tiles: tuple[int, int]) -> Tensor:
    """The 6×6 input tiles, two pixels overlapping, of x (B, C, H, W): (36, B·tiles·C)."""
    height, width = x.shape[2:]
    edges = (1, TILE * tiles[1] + 1 - width, 1, TILE * tiles[0] + 1 - height)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, *edges))
    b, h, w, c = padded.stride()
    shape = (PATCH, PATCH, len(x), *tiles, x.shape[1])
    return padded.as_strided(shape, (h, w, b, TILE * h, TILE * w, c)).reshape(PATCH**2, -1)


def _overlapped(patches: Tensor, batch: int, tiles: tuple[int, int]) -> Tensor:
    """The transpose of _patches: tiles (36, B·tiles·C) added up to (B, H, W, C), edges included."""
    patches = patches.view(PATCH, PATCH, batch, *tiles, -1)
    channels = patches.shape[-1]
    total = patches.new_zeros(batch, *(TILE * n + PATCH - TILE for n in tiles), channels)
    b, h, w, c = total.stride()
    spans = (0, TILE), (TILE, PATCH)  # tiles overlap, but not one such span of them
    for top, bottom in spans:
        for left, right in spans:
            shape = (batch, tiles[0], bottom - top, tiles[1], right - left, channels)
            strides = (b, TILE * h, h, TILE * w, w, c)
            places = total.as_strided(shape, strides, top * h + left * w)
            places.add_(patches[top:bottom, left:right].permute(2, 3, 0, 4, 1, 5))
    return total
