"""A norm, the activation behind it and the addition of a shortcut in one go, in bf16 on a CPU."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.fast import kinds

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)
CHANNELS = 256  # that a loop over channels should have


@functools.cache
def loops() -> ModuleType:
    """The compiled loops: imported by those only who train in bf16 on a CPU."""
    return importlib.import_module("engine.fast.kernels")


def run(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What nn.Sequential gives, with the activation behind a norm together with it."""
    last = len(modules) - 1
    place = 0
    while place <= last:
        module = modules[place]
        if isinstance(module, NORMS):
            activation = modules[place + 1] if place < last else None
            if kind_of(activation) is None:
                activation = None
            x = norm_activation(module, activation, x)
            place += activation is not None
        elif kind_of(module) in kinds.COSTLY and fits(x):  # others PyTorch has as fast
            x = _fused(x, None, None, None, kind_of(module), None)
        else:
            x = module(x)
        place += 1
    return x


def norm_activation(
    norm: nn.Module, activation: nn.Module | None, x: Tensor, other: Tensor | None = None
) -> Tensor:
    """activation(norm(x) + other): fused if these layers and this x can be."""
    kind = kinds.IDENTITY if activation is None else kind_of(activation)
    if kind is None or not is_usual(norm, x) or not (other is None or fits(other)):
        x = norm(x)
        x = x if other is None else x + other
        return x if activation is None else run([activation], x)
    if not isinstance(norm, nn.BatchNorm2d):
        mean, variance = _statistics_of_groups(x, _groups(norm))
    elif norm.training:
        mean, variance = statistics_of_batch(x)
        track(norm, mean, variance, x.numel() // x.shape[1])
    else:
        mean, variance = running_statistics(norm)
    mean, variance = np.atleast_2d(mean), np.atleast_2d(variance)
    rstd = 1 / np.sqrt(variance + norm.eps)
    return _fused(x, norm.weight, norm.bias, other, kind, (mean, rstd, _groups(norm)))


def _fused(*args) -> Tensor:
    out, twin = _Fused.apply(*args)
    if out.requires_grad:
        out.twin = twin, out.grad_fn, out._version
    return out


def for_two(x: Tensor) -> tuple[Tensor, Tensor]:
    """x for each of two that take it: what comes back from them is added up where it is used."""
    twin, *origin = getattr(x, "twin", (None,))
    # Not after an operation in place, which the twin has not gone through for autograd.
    return x, twin if twin is not None and origin == [x.grad_fn, x._version] else x


def running_statistics(norm: nn.BatchNorm2d) -> list[np.ndarray]:
    """Mean and variance, fp64 (C,)."""
    return [t.detach().double().numpy() for t in (norm.running_mean, norm.running_var)]


def _groups(norm: nn.Module) -> int | None:
    """Of channels that have statistics together, for each image; None: of the whole batch."""
    if isinstance(norm, nn.GroupNorm):
        return norm.num_groups
    return norm.num_features if isinstance(norm, nn.InstanceNorm2d) else None


def kind_of(activation: nn.Module | None) -> int | None:
    """Which of the loops' activations this is, or None."""
    match activation:
        case nn.ReLU():
            return kinds.RELU
        case nn.LeakyReLU(negative_slope=kinds.SLOPE):
            return kinds.LEAKY_RELU
        case nn.ELU(alpha=1) | nn.CELU(alpha=1):
            return kinds.ELU
        case nn.GELU(approximate="none"):
            return kinds.GELU
        case nn.SiLU():
            return kinds.SILU
        case nn.Mish():
            return kinds.MISH
    return None


def fits(x: Tensor) -> bool:
    usual = x.dtype is torch.bfloat16 and x.dim() == 4 and x.numel() > 0
    return usual and not torch.compiler.is_compiling()


def is_usual(norm: nn.Module, x: Tensor) -> bool:
    """Whether this is a norm with all its parts, and one that can take x."""
    if not isinstance(norm, NORMS) or not fits(x) or norm.weight is None:
        return False
    if isinstance(norm, nn.GroupNorm):
        return True
    if isinstance(norm, nn.InstanceNorm2d):
        return not norm.track_running_stats and x.shape[2] * x.shape[3] > 1
    complete = norm.track_running_stats and norm.momentum is not None
    if norm.training:
        return complete and x.numel() > x.shape[1]
    return complete and not torch.is_grad_enabled()  # the gradient is that of training


def _moments(x: Tensor, parts: int, origin: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Sums of x (B, C, H, W) - origin, and of its squares: fp64 (parts, C)."""
    kernels, rows = loops(), rows_of(x)
    sums, squares = np.zeros((2, parts, rows.shape[1]))
    kernels.use_threads(torch.get_num_threads())
    kernels.moments(rows, origin.numpy(), sums, squares)
    return sums, squares


def statistics_of_batch(x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each channel of x (B, C, H, W), fp64 (C,)."""
    count = x.numel() // x.shape[1]
    origin = x.detach()[:1, :, 0, 0].float()
    sums, squares = (t.sum(0) / count for t in _moments(x, loops().PARTS, origin))
    return origin[0].double().numpy() + sums, np.maximum(squares - sums**2, 0)


def track(norm: nn.BatchNorm2d, mean: np.ndarray, variance: np.ndarray, count: int) -> None:
    """Move the running statistics towards those of a batch of `count` positions."""
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        unbiased = variance * (count / (count - 1))
        for running, value in ((norm.running_mean, mean), (norm.running_var, unbiased)):
            running.lerp_(torch.from_numpy(value).to(running.dtype), norm.momentum)


def _statistics_of_groups(x: Tensor, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of each image's groups of channels, fp64 (B, C)."""
    origin = x.detach()[:, :, 0, 0].float().contiguous()
    sums, squares = (t / x[0, 0].numel() for t in _moments(x, len(x), origin))
    means = sums + origin.numpy()
    mean = _of_groups(means, groups, np.mean)
    variance = _of_groups(squares - sums**2 + (means - mean) ** 2, groups, np.mean)
    return mean, np.maximum(variance, 0)


def _of_groups(values: np.ndarray, groups: int, reduce: Callable) -> np.ndarray:
    """(B, C) -> (B, C): for each channel the mean or sum over the channels of its group."""
    batch, channels = values.shape
    each = values.reshape(batch, groups, channels // groups)
    return np.broadcast_to(reduce(each, 2, keepdims=True), each.shape).reshape(batch, channels)


class _Fused(torch.autograd.Function):
    """act(norm(x) + other), of bf16 x and other (B, C, H, W); without norm or other, too.

    Batch norm (Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1 and the gradients below it)
    or group norm (Wu and He 2018, arXiv 1803.08494). `statistics`: mean and 1/√(variance + ε),
    (1, C) of a batch or (B, C) of the groups of each image, and how many those are. Returns the
    same twice, as two may take it.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        other: Tensor | None,
        kind: int,
        statistics: tuple[np.ndarray, np.ndarray, int | None] | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        kernels, channels = loops(), x.shape[1]
        if statistics is None:
            mean, rstd = np.zeros((1, channels)), np.ones((1, channels))
            scale, shift, ctx.groups = rstd, mean, None
        else:
            mean, rstd, ctx.groups = statistics
            scale = weight.detach().double().numpy() * rstd
            shift = bias.detach().double().numpy() - scale * mean
        x = x.detach().contiguous(memory_format=torch.channels_last)
        if other is not None:
            other = other.detach().contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, other)
        ctx.kind, ctx.has_norm = kind, statistics is not None
        ctx.values = scale, shift, mean, rstd
        out = torch.empty_like(x)
        rows, other_rows, out_rows = _wide(len(scale), x, x if other is None else other, out)
        kernels.use_threads(torch.get_num_threads())
        loop = kernels.activation(kind, other is not None)
        loop(rows, other_rows, out_rows, *tiled(rows, scale, shift))
        return out, out.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kernels, (x, other) = loops(), ctx.saved_tensors
        scale, shift, mean, rstd = ctx.values
        grads = [g.contiguous(memory_format=torch.channels_last) for g in grads if g is not None]
        if not grads:
            return (None,) * 6
        residual, kind = other is not None, ctx.kind
        # Two of a block are added up in the loop; elsewhere they are rare.
        grad = grads[0] if residual else sum(grads[1:], grads[0])
        more = grads[1] if len(grads) == 2 else torch.zeros_like(grad) if residual else x
        stored = residual or kind in kinds.COSTLY  # so without a norm, too
        before = torch.empty_like(x) if stored else x  # the gradient before the activation
        rows, *others = _wide(len(scale), x, other if residual else x, grad, more, before)
        parts = len(scale) if len(scale) > 1 else kernels.PARTS
        sums, products = np.zeros((2, parts, rows.shape[1]))
        kernels.use_threads(torch.get_num_threads())
        loop = kernels.activation_gradient(kind, residual, stored)
        loop(rows, *others, *tiled(rows, scale, shift, mean), sums, products)
        if not ctx.has_norm:
            return before, None, None, None, None, None

        channels = scale.shape[1]
        sums, products = (t.reshape(parts, -1, channels).sum(1) for t in (sums, products))
        count = rows.size // scale.size
        grad_weight, grad_bias, of_x, rest = norm_gradients(
            sums, products, scale, mean, rstd, ctx.groups, count
        )
        grad_x = torch.empty_like(x)
        loop = kernels.norm_gradient(kinds.IDENTITY if stored else kind)
        images = _wide(len(scale), x, before if stored else grad, grad_x)
        loop(*images, *tiled(rows, scale, shift, of_x, rest))
        return grad_x, grad_weight, grad_bias, before if residual else None, None, None


def norm_gradients(
    sums: np.ndarray,
    products: np.ndarray,
    scale: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    groups: int | None,
    count: int,
) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """Those of γ and β, fp32 (C,), and what `norm_gradient` takes as of_x and rest.

    Of the sums (parts, C) that `activation_gradient` gives; of `count` positions each.
    """
    if len(scale) == 1:
        sums, products = (t.sum(0, keepdims=True) for t in (sums, products))
    of_weight, of_bias = (torch.from_numpy(t.sum(0)).float() for t in (products * rstd, sums))
    # With scale = γ · rstd: of each group γ belongs into its sums.
    sums, products = scale * sums, scale * products
    if groups is not None:
        sums, products = (_of_groups(t, groups, np.sum) for t in (sums, products))
        count *= scale.shape[1] // groups
    of_x = -(rstd**2) * products / count
    return of_weight, of_bias, of_x, -sums / count - of_x * mean


def bits_of(x: Tensor) -> np.ndarray:
    """bf16 (B, C, H, W), channels_last -> its memory as uint16 (B, H, W, C)."""
    return x.detach().permute(0, 2, 3, 1).view(torch.uint16).numpy()


def rows_of(x: Tensor) -> np.ndarray:
    """bf16 (B, C, H, W), channels_last -> its memory as uint16 (positions, C)."""
    bits = bits_of(x)
    return bits.reshape(-1, bits.shape[3])


def _wide(images: int, *tensors: Tensor) -> list[np.ndarray]:
    """`rows_of` tensors of one shape, a few positions in each row where channels are few.

    images: of which no two may share a row. A row is a loop, which takes a while to begin.
    """
    rows = [rows_of(x) for x in tensors]
    count, channels = rows[0].shape
    positions = 1
    while 2 * positions * channels <= CHANNELS and count // images % (2 * positions) == 0:
        positions *= 2
    return [r.reshape(count // positions, positions * channels) for r in rows]


def tiled(rows: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """Each channel's values (…, C) in fp32, for every position in a row of `_wide`."""
    return [np.tile(v.astype(np.float32), (1, rows.shape[1] // v.shape[1])) for v in values]
