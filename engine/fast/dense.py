"""Dense blocks without copies of what they have computed, in bf16 on a CPU.

A dense layer takes the maps of all layers before it: to join them anew for each is quadratic in
the number of layers, in time and in memory, and so are the statistics of each layer's norm. Here
each map is written once, beside the others, and its statistics are taken once (Pleiss et al. 2017,
arXiv 1707.06990, share this memory, and compute again what they did not keep).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.fast import norm_activation
from engine.fast.norm_activation import loops, rows_of, tiled
from engine.models.densenet import DenseBlock, DenseLayer


class FusedDenseBlock(DenseBlock):
    def forward(self, x: Tensor) -> Tensor:
        if not all(_fits(layer, x) for layer in self):
            return super().forward(x)
        maps = _Maps(x, self)
        order = _Append.apply(x.new_zeros(()), x, maps)
        for layer in self:
            norm, activation, *rest = layer.body
            kind = norm_activation.kind_of(activation)
            read, order = _Read.apply(
                order, norm.weight, norm.bias, maps, kind, maps.statistics(norm)
            )
            order = _Append.apply(order, norm_activation.run(rest, read), maps)
        return _Whole.apply(order, maps)


def _fits(layer: DenseLayer, x: Tensor) -> bool:
    norm, activation, *_ = layer.body
    batch_norm = isinstance(norm, nn.BatchNorm2d) and norm_activation.is_usual(norm, x)
    return batch_norm and norm_activation.kind_of(activation) is not None


class _Maps:
    """What a block has computed up to now, and the gradient of it on the way back.

    Autograd sees neither: it passes on `order`, a scalar that says which layers were there before.
    """

    def __init__(self, x: Tensor, block: DenseBlock):
        last = block[-1].body
        channels = last[0].num_features + last[-1].out_channels
        batch, _, height, width = x.shape
        self.all = x.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
        self.count = 0  # of the channels that are there
        self.taken = any(layer.body[0].training for layer in block)  # whether statistics are
        self.mean, self.variance = np.empty((2, channels))
        # The gradient of `all` is this one + of_x · all + rest: what comes from the statistics of
        # the norms is the same in all positions, so it is added up first, and added once.
        self.gradient: Tensor | None = None
        self.of_x, self.rest = np.empty((2, channels))

    def append(self, new: Tensor) -> slice:
        """The channels that `new` has become."""
        place = slice(self.count, self.count + new.shape[1])
        self.all[:, place] = new
        self.count = place.stop
        if self.taken:
            new = new.contiguous(memory_format=torch.channels_last)
            moments = norm_activation.statistics_of_batch(new)
            self.mean[place], self.variance[place] = moments
        return place

    def statistics(self, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
        """Mean and 1/√(variance + ε) of every channel up to now, (1, C); the norm tracks them."""
        if norm.training:
            mean, variance = self.mean[: self.count], self.variance[: self.count]
            positions = self.all.numel() // self.all.shape[1]
            norm_activation.track(norm, mean, variance, positions)
        else:
            mean, variance = norm_activation.running_statistics(norm)
        return mean[None], 1 / np.sqrt(variance[None] + norm.eps)

    def begin_gradient(self, grad: Tensor) -> None:
        self.gradient = grad.clone(memory_format=torch.channels_last)
        self.of_x[:] = self.rest[:] = 0

    def gradient_of(self, place: slice) -> Tensor:
        """Of these channels, once every layer that read them has added its own."""
        batch, _, height, width = self.all.shape
        size = batch, height, width, place.stop - place.start
        out = self.all.new_empty(size).permute(0, 3, 1, 2)
        rows = [rows_of(t) for t in (self.all, self.gradient, out)]
        kernels = loops()
        kernels.use_threads(torch.get_num_threads())
        values = (v[place].astype(np.float32)[None] for v in (self.of_x, self.rest))
        kernels.taken(*rows, place.start, *values)
        if place.start == 0:
            self.gradient = None  # the last who needed it
        return out


class _Append(torch.autograd.Function):
    @staticmethod
    def forward(ctx, order: Tensor, new: Tensor, maps: _Maps) -> Tensor:
        ctx.maps, ctx.place = maps, maps.append(new.detach())
        return order.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad, ctx.maps.gradient_of(ctx.place), None


class _Read(torch.autograd.Function):
    """act(norm(x)) of the maps x that are there: (B, C, H, W)."""

    @staticmethod
    def forward(
        ctx,
        order: Tensor,
        weight: Tensor,
        bias: Tensor,
        maps: _Maps,
        kind: int,
        statistics: tuple[np.ndarray, np.ndarray],
    ) -> tuple[Tensor, Tensor]:
        mean, rstd = statistics
        scale = weight.detach().double().numpy() * rstd
        shift = bias.detach().double().numpy() - scale * mean
        ctx.maps, ctx.kind, ctx.values = maps, kind, (scale, shift, mean, rstd)
        batch, _, height, width = maps.all.shape
        out = maps.all.new_empty(batch, height, width, maps.count).permute(0, 3, 1, 2)
        rows, out_rows = rows_of(maps.all), rows_of(out)
        kernels = loops()
        kernels.use_threads(torch.get_num_threads())
        kernels.activation(kind, False)(rows, rows, out_rows, *tiled(out_rows, scale, shift))
        return out, order.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, of_order: Tensor) -> tuple[Tensor | None, ...]:
        kernels, maps = loops(), ctx.maps
        scale, shift, mean, rstd = ctx.values
        rows = rows_of(maps.all)
        grad_rows = rows_of(grad.contiguous(memory_format=torch.channels_last))
        sums, products = np.zeros((2, kernels.PARTS, grad.shape[1]))
        kernels.use_threads(torch.get_num_threads())
        loop = kernels.dense_gradient(ctx.kind)
        values = tiled(grad_rows, scale, shift, mean)
        loop(rows, grad_rows, rows_of(maps.gradient), *values, sums, products)
        of_weight, of_bias, of_x, rest = norm_activation.norm_gradients(
            sums, products, scale, mean, rstd, None, len(rows)
        )
        maps.of_x[: of_x.size] += of_x[0]
        maps.rest[: rest.size] += rest[0]
        return of_order, of_weight, of_bias, None, None, None


class _Whole(torch.autograd.Function):
    @staticmethod
    def forward(ctx, order: Tensor, maps: _Maps) -> Tensor:
        ctx.maps = maps
        ctx.save_for_backward(maps.all)  # for autograd to notice if what it shares is changed
        return maps.all.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        _ = ctx.saved_tensors  # raises if it was
        ctx.maps.begin_gradient(grad)
        return grad.new_zeros(()), None
