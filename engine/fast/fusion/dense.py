"""Dense blocks that write each feature map once, in bf16 on a CPU.

A dense layer reads the maps of all layers before it. Concatenating them for each layer costs
time and memory quadratic in the number of layers, and so do the statistics of each layer's norm.
Here each layer appends its maps to one tensor, and their statistics are computed once. Pleiss et
al. 2017, "Memory-Efficient Implementation of DenseNets", arXiv 1707.06990, also share the memory,
but recompute intermediate results in the backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.fast.fusion import loops, statistics
from engine.fast.fusion.activations import kind_of
from engine.fast.fusion.arrays import as_rows, tile
from engine.fast.fusion.norm_act import is_supported, norm_gradients, run
from engine.models.densenet import DenseBlock, DenseLayer


class FusedDenseBlock(DenseBlock):
    """Avoids concatenation if all layers begin with batch norm and a supported activation."""

    def forward(self, x: Tensor) -> Tensor:
        layers = [_Parts.of(layer) for layer in self]
        if not all(_is_supported(layer, x) for layer in layers):
            return super().forward(x)
        growth = [layer.convolutions[-1].out_channels for layer in layers]
        maps = _FeatureMaps(x, x.shape[1] + sum(growth), any(p.norm.training for p in layers))
        token = _Append.apply(x.new_zeros(()), x, maps)
        for layer in layers:
            norm, kind = layer.norm, kind_of(layer.activation)
            inputs, token = _NormAct.apply(
                token, norm.weight, norm.bias, maps, kind, maps.statistics(norm)
            )
            token = _Append.apply(token, run(layer.convolutions, inputs), maps)
        return _Output.apply(token, maps)


class _Parts(NamedTuple):
    """The modules of a dense layer, in order."""

    norm: nn.Module
    activation: nn.Module
    convolutions: Sequence[nn.Module]  # up to the 3×3 that computes the new maps

    @classmethod
    def of(cls, layer: DenseLayer) -> _Parts:
        norm, activation, *convolutions = layer.body
        return cls(norm, activation, convolutions)


def _is_supported(layer: _Parts, x: Tensor) -> bool:
    batch_norm = isinstance(layer.norm, nn.BatchNorm2d) and is_supported(layer.norm, x)
    return batch_norm and kind_of(layer.activation) is not None


class _FeatureMaps:
    """All maps of a block, (B, channels, H, W), and their gradient during the backward pass.

    Autograd sees neither. The functions below pass a scalar token, which orders them like the
    layers.
    """

    def __init__(self, x: Tensor, channels: int, training: bool):
        batch, _, height, width = x.shape
        self.all = x.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
        self.count = 0  # channels appended so far
        self.training = training  # whether any norm needs statistics of the batch
        self.mean, self.variance = np.empty((2, channels))
        # The gradient of `all` is gradient + x_coef · all + constant: the part through the norms'
        # statistics is linear in x, so only its coefficients have to be summed.
        self.gradient: Tensor | None = None
        self.x_coef, self.constant = np.empty((2, channels))

    def append(self, new: Tensor) -> slice:
        """Append new (B, C, H, W). Returns the slice of its channels."""
        channels = slice(self.count, self.count + new.shape[1])
        self.all[:, channels] = new
        self.count = channels.stop
        if self.training:
            new = new.contiguous(memory_format=torch.channels_last)
            self.mean[channels], self.variance[channels] = statistics.of_batch(new)
        return channels

    def statistics(self, norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
        """Mean and 1/√(variance + ε), (1, C), of the channels so far; updates running values."""
        if norm.training:
            mean, variance = self.mean[: self.count], self.variance[: self.count]
            positions = self.all.numel() // self.all.shape[1]
            statistics.update_running(norm, mean, variance, positions)
        else:
            mean, variance = statistics.running(norm)
        return mean[None], 1 / np.sqrt(variance[None] + norm.eps)

    def begin_gradient(self, grad: Tensor) -> None:
        self.gradient = grad.clone(memory_format=torch.channels_last)
        self.x_coef[:] = self.constant[:] = 0

    def gradient_of(self, channels: slice) -> Tensor:
        """Gradient of these channels, once every layer that read them has contributed."""
        batch, _, height, width = self.all.shape
        size = batch, height, width, channels.stop - channels.start
        out = self.all.new_empty(size).permute(0, 3, 1, 2)
        rows = [as_rows(t) for t in (self.all, self.gradient, out)]
        values = (v[channels].astype(np.float32)[None] for v in (self.x_coef, self.constant))
        loops().collect_grad(*rows, channels.start, *values)
        if channels.start == 0:
            self.gradient = None  # no other channels need it
        return out


class _Append(torch.autograd.Function):
    """Appends new maps; the backward pass returns their gradient."""

    @staticmethod
    def forward(ctx, token: Tensor, new: Tensor, maps: _FeatureMaps) -> Tensor:
        ctx.maps, ctx.channels = maps, maps.append(new.detach())
        return token.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        return grad, ctx.maps.gradient_of(ctx.channels), None


class _NormAct(torch.autograd.Function):
    """act(norm(x)) of the maps so far, (B, C, H, W); backward adds to the gradient of the maps."""

    @staticmethod
    def forward(
        ctx,
        token: Tensor,
        weight: Tensor,
        bias: Tensor,
        maps: _FeatureMaps,
        kind: int,
        statistics: tuple[np.ndarray, np.ndarray],
    ) -> tuple[Tensor, Tensor]:
        mean, rstd = statistics
        scale = weight.detach().double().numpy() * rstd
        shift = bias.detach().double().numpy() - scale * mean
        ctx.maps, ctx.kind, ctx.values = maps, kind, (scale, shift, mean, rstd)
        batch, _, height, width = maps.all.shape
        out = maps.all.new_empty(batch, height, width, maps.count).permute(0, 3, 1, 2)
        rows, out_rows = as_rows(maps.all), as_rows(out)
        loop = loops().activation(kind, False)
        loop(rows, rows, out_rows, *tile(out_rows, scale, shift))
        return out, token.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, grad_token: Tensor) -> tuple[Tensor | None, ...]:
        kernels, maps = loops(), ctx.maps
        scale, shift, mean, rstd = ctx.values
        rows = as_rows(maps.all)
        grad_rows = as_rows(grad.contiguous(memory_format=torch.channels_last))
        sums, products = np.zeros((2, kernels.PARTS, grad.shape[1]))
        loop = kernels.dense_gradient(ctx.kind)
        values = tile(grad_rows, scale, shift, mean)
        loop(rows, grad_rows, as_rows(maps.gradient), *values, sums, products)
        grad_weight, grad_bias, x_coef, constant = norm_gradients(
            sums, products, scale, mean, rstd, None, len(rows)
        )
        maps.x_coef[: x_coef.size] += x_coef[0]
        maps.constant[: constant.size] += constant[0]
        return grad_token, grad_weight, grad_bias, None, None, None


class _Output(torch.autograd.Function):
    """The maps of the whole block; the backward pass initializes their gradient."""

    @staticmethod
    def forward(ctx, token: Tensor, maps: _FeatureMaps) -> Tensor:
        ctx.maps = maps
        ctx.save_for_backward(maps.all)  # so that autograd detects in-place changes
        return maps.all.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        _ = ctx.saved_tensors  # raises after an in-place change
        ctx.maps.begin_gradient(grad)
        return grad.new_zeros(()), None
