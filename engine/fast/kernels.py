"""Loops over images in bf16 on a CPU, compiled by numba: what PyTorch does in several passes.

PyTorch's own kernels for batch norm, activations and max-pooling go through the images more often
than needed, and convert between bf16 and fp32 each time. Here whatever is between two convolutions
is one pass forward (two with the statistics of a norm) and two backward, in fp32.

Images are arrays of bf16 bits in uint16, as NumPy has no bf16: (positions, channels), or (images,
height, width, channels). Positions are divided into PARTS, whatever the number of threads, so that
sums do not depend on it; or by image, for norms that have statistics of each.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numba
import numpy as np
from numba import config, njit, prange

from engine.fast import elementwise, kinds
from engine.fast.elementwise import LOOSE, ZERO, activated, bf16, f, fp32, slope
from engine.fast.kinds import COSTLY, IDENTITY

PARTS = 16
ROWS = 64  # that are summed in fp32, before the sums go on in fp64

_files = (__file__, elementwise.__file__, kinds.__file__)
SOURCE = hashlib.sha256(b"".join(Path(file).read_bytes() for file in _files)).hexdigest()[:8]


def parallel(loop: Callable, *variant: int) -> Callable:
    """Compile a loop over `prange`; the compiled code is kept beside this file.

    In a file for each variant and each state of the source: numba numbers the variants that share
    one, and two processes that begin at the same time could take each other's.
    """
    loop.__qualname__ = "_".join([loop.__qualname__, *(str(int(v)) for v in variant), SOURCE])
    return njit(parallel=True, nogil=True, cache=True, fastmath=LOOSE, error_model="numpy")(loop)


def use_threads(count: int) -> None:
    """So many from now on in the calling thread, for which numba would take every core."""
    numba.set_num_threads(min(count, config.NUMBA_NUM_THREADS))


@parallel
def moments(x, origin, sums, squares):
    """Of x (N, C) less origin: sums and sums of squares, fp64 (parts, C), of each part of N.

    origin: (1, C), or (parts, C) with one for each part.
    """
    count, channels = x.shape
    parts = len(sums)
    for part in prange(parts):
        total, square = np.zeros(channels, f), np.zeros(channels, f)
        base = origin[part % len(origin)]
        last = (part + 1) * count // parts
        row = part * count // parts
        while row < last:
            total[:] = ZERO
            square[:] = ZERO
            until = min(row + ROWS, last)
            while row + 4 <= until:
                for c in range(channels):
                    a, b = fp32(x[row, c]) - base[c], fp32(x[row + 1, c]) - base[c]
                    d, e = fp32(x[row + 2, c]) - base[c], fp32(x[row + 3, c]) - base[c]
                    total[c] += (a + b) + (d + e)
                    square[c] += (a * a + b * b) + (d * d + e * e)
                row += 4
            while row < until:
                for c in range(channels):
                    a = fp32(x[row, c]) - base[c]
                    total[c] += a
                    square[c] += a * a
                row += 1
            for c in range(channels):
                sums[part, c] += total[c]
                squares[part, c] += square[c]


@functools.cache
def activation(kind: int, residual: bool) -> Callable:
    """Compiled for one activation: out = act(x · scale + shift), plus `other` if `residual`.

    The loop takes x, other and out (N, C), scale and shift: (1, C), or one for each part of N.
    x may have more channels, of which the first are meant.
    """

    def loop(x, other, out, scale, shift):
        count, channels = out.shape
        parts = len(scale) if len(scale) > 1 else PARTS
        for part in prange(parts):
            factor, addend = scale[part % len(scale)], shift[part % len(scale)]
            for row in range(part * count // parts, (part + 1) * count // parts):
                for c in range(channels):
                    value = fp32(x[row, c]) * factor[c] + addend[c]
                    if residual:
                        value += fp32(other[row, c])
                    out[row, c] = bf16(activated(kind, value))

    return parallel(loop, kind, residual)


@functools.cache
def activation_gradient(kind: int, residual: bool, stored: bool) -> Callable:
    """Compiled for one activation: g = grad · act'(x · scale + shift (+ other)), and its sums.

    The loop takes x, other, grad, more and out (N, C), scale, shift and mean as above, and adds to
    fp64 (parts, C): the sums of g, and of g · (x - mean). If `residual`, the gradient is grad +
    more, as that of another block's input; if `stored`, out is set to g.
    """

    def loop(x, other, grad, more, out, scale, shift, mean, sums, products):
        count, channels = x.shape
        parts = len(sums)
        for part in prange(parts):
            factor, addend = scale[part % len(scale)], shift[part % len(scale)]
            middle = mean[part % len(scale)]
            total, product = np.zeros(channels, f), np.zeros(channels, f)
            last = (part + 1) * count // parts
            for first in range(part * count // parts, last, ROWS):
                total[:] = ZERO
                product[:] = ZERO
                for row in range(first, min(first + ROWS, last)):
                    for c in range(channels):
                        a = fp32(x[row, c])
                        value = a * factor[c] + addend[c]
                        if residual:
                            value += fp32(other[row, c])
                        g = fp32(grad[row, c])
                        if residual:
                            g += fp32(more[row, c])
                        g *= slope(kind, value)
                        if stored:
                            out[row, c] = bf16(g)
                        total[c] += g
                        product[c] += g * (a - middle[c])
                for c in range(channels):
                    sums[part, c] += total[c]
                    products[part, c] += product[c]

    return parallel(loop, kind, residual, stored)


@functools.cache
def norm_gradient(kind: int) -> Callable:
    """Compiled for one activation: out = of_x · x + scale · g + rest, with the g of above.

    The loop takes x, grad and out (N, C), the others as above. A g that was stored is the gradient
    behind IDENTITY.
    """

    def loop(x, grad, out, scale, shift, of_x, rest):
        count, channels = x.shape
        parts = len(scale) if len(scale) > 1 else PARTS
        for part in prange(parts):
            at = part % len(scale)
            factor, addend, slant, constant = scale[at], shift[at], of_x[at], rest[at]
            for row in range(part * count // parts, (part + 1) * count // parts):
                for c in range(channels):
                    a = fp32(x[row, c])
                    g = fp32(grad[row, c]) * slope(kind, a * factor[c] + addend[c])
                    out[row, c] = bf16(factor[c] * g + (slant[c] * a + constant[c]))

    return parallel(loop, kind)


@functools.cache
def dense_gradient(kind: int) -> Callable:
    """Compiled for one activation: total += scale · g, with g and its sums as above.

    The loop takes x and total (N, C or more), grad (N, C), the others as above with (1, C).
    """

    def loop(x, grad, total, scale, shift, mean, sums, products):
        count, channels = grad.shape
        factor, addend, middle = scale[0], shift[0], mean[0]
        for part in prange(PARTS):
            sum_, product = np.zeros(channels, f), np.zeros(channels, f)
            last = (part + 1) * count // PARTS
            for first in range(part * count // PARTS, last, ROWS):
                sum_[:] = ZERO
                product[:] = ZERO
                for row in range(first, min(first + ROWS, last)):
                    for c in range(channels):
                        a = fp32(x[row, c])
                        g = fp32(grad[row, c]) * slope(kind, a * factor[c] + addend[c])
                        total[row, c] = bf16(fp32(total[row, c]) + factor[c] * g)
                        sum_[c] += g
                        product[c] += g * (a - middle[c])
                for c in range(channels):
                    sums[part, c] += sum_[c]
                    products[part, c] += product[c]

    return parallel(loop, kind)


@parallel
def taken(x, total, out, first, of_x, rest):
    """out = total + of_x · x + rest of the channels from `first` on.

    x and total: (N, more), out: (N, C), of_x and rest: (1, C).
    """
    count, channels = out.shape
    start = np.uint64(first)
    for part in prange(PARTS):
        for row in range(part * count // PARTS, (part + 1) * count // PARTS):
            for c in range(channels):
                at = start + np.uint64(c)  # unsigned, as those below 0 would count from the end
                value = of_x[0, c] * fp32(x[row, at]) + rest[0, c]
                out[row, c] = bf16(fp32(total[row, at]) + value)


@parallel
def largest(x, out, places):
    """Max-pooling of 2×2 of x (B, H, W, C).

    out and the place of each in its square, 0 to 3: (B, H // 2, W // 2, C).
    """
    batch, height, width, channels = out.shape
    for row in prange(batch * height):
        image, i = row // height, row % height
        for j in range(width):
            for c in range(channels):
                best, place = x[image, 2 * i, 2 * j, c], np.uint8(0)
                for n in range(1, 4):
                    bits = x[image, 2 * i + n // 2, 2 * j + n % 2, c]
                    value = fp32(bits)
                    if value > fp32(best) or value != value:
                        best, place = bits, np.uint8(n)
                out[image, i, j, c], places[image, i, j, c] = best, place


@parallel
def largest_gradient(grad, places, out):
    """Of `largest`: out (B, H, W, C) is set whole, to grad where that came from, and to 0."""
    batch, height, width, channels = grad.shape
    for image in prange(batch):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                if i // 2 < height and j // 2 < width:
                    here = np.uint8(2 * (i % 2) + j % 2)
                    for c in range(channels):
                        g = grad[image, i // 2, j // 2, c]
                        out[image, i, j, c] = g if places[image, i // 2, j // 2, c] == here else 0
                else:
                    out[image, i, j] = 0


def compile_for(activations: Iterable[int], shortcuts: bool, pools: bool, dense: bool) -> None:
    """Compile what a network with these activations and layers runs, or load it if it is there.

    Raises whatever numba raises where it cannot.
    """
    row, ones, sums = np.zeros((1, 1), np.uint16), np.ones((1, 1), f), np.zeros((PARTS, 1))
    moments(row, ones, sums, sums)
    for kind in {IDENTITY, *activations}:
        for residual in {False, shortcuts and kind != IDENTITY}:
            activation(kind, residual)(row, row, row, ones, ones)
            loop = activation_gradient(kind, residual, residual or kind in COSTLY)
            loop(row, row, row, row, row, ones, ones, ones, sums, sums)
        if kind not in COSTLY:
            norm_gradient(kind)(row, row, row, ones, ones, ones, ones)
        if dense and kind != IDENTITY:
            dense_gradient(kind)(row, row, row, ones, ones, ones, sums, sums)
    if dense:
        taken(row, row, row, 0, ones, ones)
    if pools:
        image, pooled = np.zeros((1, 2, 2, 1), np.uint16), np.zeros((1, 1, 1, 1), np.uint16)
        places = np.zeros((1, 1, 1, 1), np.uint8)
        largest(image, pooled, places)
        largest_gradient(pooled, places, image)
