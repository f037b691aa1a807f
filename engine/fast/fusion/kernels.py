"""Loops over bf16 images, compiled by numba. Each fuses several passes of PyTorch into one.

PyTorch's kernels for batch norm, activation and max-pooling each read and write the images, and
convert between bf16 and fp32 every time. Here everything between two convolutions takes one pass
forward (two with the statistics of a norm) and two backward, computed in fp32.

Images are arrays of bf16 bits in uint16, as NumPy has no bf16: (N, C), with N = B · H · W
positions, or (B, H, W, C). Positions are divided into PARTS, so that sums do not depend on the
number of threads; or into one part per image, for norms with statistics per image.
Values per channel are fp32, (1, C), or (parts, C) with a row for each part.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import numpy as np
from numba import prange

from engine.fast.fusion.activations import COSTLY, IDENTITY
from engine.fast.fusion.elementwise import ZERO, activate, bf16, derivative, f, fp32
from engine.fast.fusion.jit import parallel

PARTS = 16
ROWS = 64  # rows summed in fp32 before their sum is added to the fp64 total


@parallel
def moments(x, origin, sums, squares):
    """Add the sums of (x - origin) and of its squares over each part to fp64 (parts, C).

    x: (N, C). origin: per channel, a value of x, so that large means cost no precision.
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
    """Loop for one activation: out = act(x · scale + shift), or act(x · scale + shift + other).

    kind: index in ACTIVATIONS; residual: whether `other` is added. The loop takes x, other and out
    (N, C), scale and shift per channel. x may have further channels, which are not read.
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
                    out[row, c] = bf16(activate(kind, value))

    return parallel(loop, kind, residual)


@functools.cache
def activation_gradient(kind: int, residual: bool, stored: bool) -> Callable:
    """Loop for the sums of g = grad · act'(x · scale + shift), which a norm's gradient needs.

    The loop takes x, other, grad, second_grad and out (N, C), scale, shift and mean per channel,
    and adds the sums of g and of g · (x - mean) to fp64 (parts, C). residual: g is (grad +
    second_grad) · act'(x · scale + shift + other): the output of a residual block is read twice,
    by the next block's body and by its shortcut. stored: out is set to g.
    """

    def loop(x, other, grad, second_grad, out, scale, shift, mean, sums, products):
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
                            g += fp32(second_grad[row, c])
                        g *= derivative(kind, value)
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
    """Loop for a norm's input gradient: out = scale · g + x_coef · x + constant.

    The loop takes x, grad and out (N, C), the others per channel; g is that of
    `activation_gradient` without residual. If that loop stored g, it is `grad`, and the kind
    IDENTITY.
    """

    def loop(x, grad, out, scale, shift, x_coef, constant):
        count, channels = x.shape
        parts = len(scale) if len(scale) > 1 else PARTS
        for part in prange(parts):
            at = part % len(scale)
            factor, addend, coef, const = scale[at], shift[at], x_coef[at], constant[at]
            for row in range(part * count // parts, (part + 1) * count // parts):
                for c in range(channels):
                    a = fp32(x[row, c])
                    g = fp32(grad[row, c]) * derivative(kind, a * factor[c] + addend[c])
                    out[row, c] = bf16(factor[c] * g + (coef[c] * a + const[c]))

    return parallel(loop, kind)


@functools.cache
def dense_gradient(kind: int) -> Callable:
    """Loop for a dense layer: total += scale · g, and the sums of `activation_gradient`.

    The loop takes x and total (N, at least C), grad (N, C), scale, shift and mean (1, C).
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
                        g = fp32(grad[row, c]) * derivative(kind, a * factor[c] + addend[c])
                        total[row, c] = bf16(fp32(total[row, c]) + factor[c] * g)
                        sum_[c] += g
                        product[c] += g * (a - middle[c])
                for c in range(channels):
                    sums[part, c] += sum_[c]
                    products[part, c] += product[c]

    return parallel(loop, kind)


@parallel
def collect_grad(x, total, out, first, x_coef, constant):
    """out = total + x_coef · x + constant, for C channels of x and total from `first` on.

    x and total: (N, at least first + C), out: (N, C), x_coef and constant: (1, C).
    """
    count, channels = out.shape
    start = np.uint64(first)
    for part in prange(PARTS):
        for row in range(part * count // PARTS, (part + 1) * count // PARTS):
            for c in range(channels):
                at = start + np.uint64(c)  # unsigned: no check for negative indices
                value = x_coef[0, c] * fp32(x[row, at]) + constant[0, c]
                out[row, c] = bf16(fp32(total[row, at]) + value)


@parallel
def max_pool2x2(x, out, indices):
    """2×2 max-pooling, stride 2, of x (B, H, W, C) to out (B, H // 2, W // 2, C).

    indices: uint8, like out: position of the maximum in its window, 0 to 3, row by row.
    """
    batch, height, width, channels = out.shape
    for row in prange(batch * height):
        image, i = row // height, row % height
        for j in range(width):
            for c in range(channels):
                best, index = x[image, 2 * i, 2 * j, c], np.uint8(0)
                for n in range(1, 4):
                    bits = x[image, 2 * i + n // 2, 2 * j + n % 2, c]
                    value = fp32(bits)
                    if value > fp32(best) or value != value:
                        best, index = bits, np.uint8(n)
                out[image, i, j, c], indices[image, i, j, c] = best, index


@parallel
def max_pool2x2_gradient(grad, indices, out):
    """Input gradient of max_pool2x2: out (B, H, W, C) is grad at the maxima, 0 elsewhere."""
    batch, height, width, channels = grad.shape
    for image in prange(batch):
        for i in range(out.shape[1]):
            for j in range(out.shape[2]):
                if i // 2 < height and j // 2 < width:
                    here = np.uint8(2 * (i % 2) + j % 2)
                    for c in range(channels):
                        g = grad[image, i // 2, j // 2, c]
                        out[image, i, j, c] = g if indices[image, i // 2, j // 2, c] == here else 0
                else:
                    out[image, i, j] = 0


def compile_for(activations: Iterable[int], *, residual: bool, max_pool: bool, dense: bool) -> None:
    """Compile the loops for these activations and layers, or load them from the cache.

    Propagates numba's errors.
    """
    row, ones, sums = np.zeros((1, 1), np.uint16), np.ones((1, 1), f), np.zeros((PARTS, 1))
    moments(row, ones, sums, sums)
    for kind in {IDENTITY, *activations}:
        for adds in {False, residual and kind != IDENTITY}:
            activation(kind, adds)(row, row, row, ones, ones)
            loop = activation_gradient(kind, adds, adds or kind in COSTLY)
            loop(row, row, row, row, row, ones, ones, ones, sums, sums)
        if kind not in COSTLY:
            norm_gradient(kind)(row, row, row, ones, ones, ones, ones)
        if dense and kind != IDENTITY:
            dense_gradient(kind)(row, row, row, ones, ones, ones, sums, sums)
    if dense:
        collect_grad(row, row, row, 0, ones, ones)
    if max_pool:
        image, pooled = np.zeros((1, 2, 2, 1), np.uint16), np.zeros((1, 1, 1, 1), np.uint16)
        indices = np.zeros((1, 1, 1, 1), np.uint8)
        max_pool2x2(image, pooled, indices)
        max_pool2x2_gradient(pooled, indices, image)
