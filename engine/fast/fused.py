"""What is between two convolutions in one go, for trainings in bf16 on a CPU.

Batch norm, the activation behind it and the addition of a shortcut are a third of a ResNet-18's
step and half of a DenseNet's when each is a pass of its own. `fuse` swaps the classes of the
modules that hold them; names, parameters and results stay (up to rounding).
"""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.device import Compute, fastest_precision
from engine.models.resnet import Block

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)
CHANNELS = 256  # that a loop over channels should have

log = logging.getLogger(__name__)


def fuse(model: nn.Module, compute: Compute) -> nn.Module:
    """The same network, fused where `compute` is a CPU with instructions for bf16.

    Not for one that torch.compile gets: that fuses itself.
    """
    on_cpu = compute.device.type == "cpu" and compute.precision == "bf16"
    if on_cpu and fastest_precision(compute.device) == "bf16" and _compiles_for(model):
        for module in model.modules():
            module.__class__ = FUSED.get(type(module), type(module))
    return model


def _compiles_for(model: nn.Module) -> bool:
    """Whether numba can compile and run here what this network needs; else a warning says why not.

    Now, and not in the first step: it takes some seconds, if no process has done it before.
    """
    threads = torch.get_num_threads()
    try:
        modules = list(model.modules())
        kinds = {_kind(module) for module in modules} - {None}
        has = {kind: any(isinstance(m, kind) for m in modules) for kind in (Block, nn.MaxPool2d)}
        _kernels().compile_for(kinds, *has.values())
    except Exception as error:  # no OpenMP, no place for compiled code, an unknown CPU …
        log.warning("layers are not fused, training is slower: %s", " ".join(str(error).split()))
        return False
    finally:
        # numba's first loop gives OpenMP, and so PyTorch, as many threads as there are CPUs.
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
    return True


@functools.cache
def _kernels() -> ModuleType:
    """The compiled loops: imported by those only who train in bf16 on a CPU."""
    return importlib.import_module("engine.fast.kernels")


class FusedSequential(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return _run([*self], x)


class FusedBlock(Block):
    def forward(self, x: Tensor) -> Tensor:
        *first, last = self.body
        return _norm_activation(last, self.activation, _run(first, x), self.shortcut(x))


class FusedMaxPool(nn.MaxPool2d):
    def forward(self, x: Tensor) -> Tensor:
        usual = (self.padding, self.dilation, self.ceil_mode, self.return_indices)
        halves = self.kernel_size == self.stride == 2 and usual == (0, 1, False, False)
        if not halves or not _fits(x) or min(x.shape[2:]) < 2:
            return super().forward(x)
        return _MaxPool.apply(x)


FUSED: dict[type, type] = {
    nn.Sequential: FusedSequential,
    Block: FusedBlock,
    nn.MaxPool2d: FusedMaxPool,
}


def _run(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What nn.Sequential gives, with the activation behind a norm together with it."""
    last = len(modules) - 1
    place = 0
    while place <= last:
        module = modules[place]
        if isinstance(module, NORMS):
            activation = modules[place + 1] if place < last else None
            if _kind(activation) is None:
                activation = None
            x = _norm_activation(module, activation, x)
            place += activation is not None
        elif _kind(module) in _kernels().COSTLY and _fits(x):  # others PyTorch has as fast
            x = _Fused.apply(x, None, None, None, _kind(module), None)
        else:
            x = module(x)
        place += 1
    return x


def _norm_activation(
    norm: nn.Module, activation: nn.Module | None, x: Tensor, other: Tensor | None = None
) -> Tensor:
    """activation(norm(x) + other): fused if these layers and this x can be."""
    kind = _kernels().IDENTITY if activation is None else _kind(activation)
    if kind is None or not _is_usual(norm, x) or not (other is None or _fits(other)):
        x = norm(x)
        x = x if other is None else x + other
        return x if activation is None else _run([activation], x)
    if not isinstance(norm, nn.BatchNorm2d):
        statistics = _statistics_of_groups(x, _groups(norm))
    elif norm.training:
        statistics = _statistics(norm, x)
    else:
        running = (norm.running_mean, norm.running_var)
        statistics = [t.detach().double().numpy()[None] for t in running]
    mean, variance = statistics
    rstd = 1 / np.sqrt(variance + norm.eps)
    return _Fused.apply(x, norm.weight, norm.bias, other, kind, (mean, rstd, _groups(norm)))


def _groups(norm: nn.Module) -> int | None:
    """Of channels that have statistics together, for each image; None: of the whole batch."""
    if isinstance(norm, nn.GroupNorm):
        return norm.num_groups
    return norm.num_features if isinstance(norm, nn.InstanceNorm2d) else None


def _kind(activation: nn.Module | None) -> int | None:
    """Which of the kernels' activations this is, or None."""
    kernels = _kernels()
    match activation:
        case nn.ReLU():
            return kernels.RELU
        case nn.LeakyReLU(negative_slope=kernels.SLOPE):
            return kernels.LEAKY_RELU
        case nn.ELU(alpha=1) | nn.CELU(alpha=1):
            return kernels.ELU
        case nn.GELU(approximate="none"):
            return kernels.GELU
        case nn.SiLU():
            return kernels.SILU
        case nn.Mish():
            return kernels.MISH
    return None


def _fits(x: Tensor) -> bool:
    usual = x.dtype is torch.bfloat16 and x.dim() == 4 and x.numel() > 0
    return usual and not torch.compiler.is_compiling()


def _is_usual(norm: nn.Module, x: Tensor) -> bool:
    """Whether this is a norm with all its parts, and one that can take x."""
    if not isinstance(norm, NORMS) or not _fits(x) or norm.weight is None:
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
    kernels, rows = _kernels(), _rows(x)
    sums, squares = np.zeros((2, parts, rows.shape[1]))
    kernels.use_threads(torch.get_num_threads())
    kernels.moments(rows, origin.numpy(), sums, squares)
    return sums, squares


def _statistics(norm: nn.BatchNorm2d, x: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the batch, fp64 (1, C); the running ones are moved towards them."""
    count = x.numel() // x.shape[1]
    origin = x.detach()[:1, :, 0, 0].float()
    sums, squares = (t.sum(0) / count for t in _moments(x, _kernels().PARTS, origin))
    variance = np.maximum(squares - sums**2, 0)
    mean = origin[0].double().numpy() + sums
    with torch.no_grad():
        norm.num_batches_tracked.add_(1)
        unbiased = variance * (count / (count - 1))
        for running, value in ((norm.running_mean, mean), (norm.running_var, unbiased)):
            running.lerp_(torch.from_numpy(value).to(running.dtype), norm.momentum)
    return mean[None], variance[None]


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
    (1, C) of a batch or (B, C) of the groups of each image, and how many those are.
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
    ) -> Tensor:
        kernels, channels = _kernels(), x.shape[1]
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
        loop(rows, other_rows, out_rows, *_tiled(rows, scale, shift))
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        kernels, (x, other) = _kernels(), ctx.saved_tensors
        scale, shift, mean, rstd = ctx.values
        grad = grad.contiguous(memory_format=torch.channels_last)
        residual, kind = other is not None, ctx.kind
        stored = residual or kind in kernels.COSTLY  # so without a norm, too
        before = torch.empty_like(x) if stored else x  # the gradient before the activation
        rows, *others = _wide(len(scale), x, other if residual else x, grad, before)
        parts = len(scale) if len(scale) > 1 else kernels.PARTS
        sums, products = np.zeros((2, parts, rows.shape[1]))
        kernels.use_threads(torch.get_num_threads())
        loop = kernels.activation_gradient(kind, residual, stored)
        loop(rows, *others, *_tiled(rows, scale, shift, mean), sums, products)
        if not ctx.has_norm:
            return before, None, None, None, None, None

        channels = scale.shape[1]
        sums, products = (t.reshape(parts, -1, channels).sum(1) for t in (sums, products))
        if len(scale) == 1:
            sums, products = (t.sum(0, keepdims=True) for t in (sums, products))
        grad_weight, grad_bias = (t.sum(0) for t in (products * rstd, sums))
        # With scale = γ · rstd: of each group γ belongs into its sums.
        sums, products = scale * sums, scale * products
        count = rows.size / scale.size
        if ctx.groups is not None:
            sums, products = (_of_groups(t, ctx.groups, np.sum) for t in (sums, products))
            count *= channels // ctx.groups
        of_x = -(rstd**2) * products / count
        rest = -sums / count - of_x * mean
        grad_x = torch.empty_like(x)
        loop = kernels.norm_gradient(kernels.IDENTITY if stored else kind)
        images = _wide(len(scale), x, before if stored else grad, grad_x)
        loop(*images, *_tiled(rows, scale, shift, of_x, rest))
        grad_weight, grad_bias = (torch.from_numpy(g).float() for g in (grad_weight, grad_bias))
        return grad_x, grad_weight, grad_bias, before if residual else None, None, None


class _MaxPool(torch.autograd.Function):
    """Max-pooling of 2×2 with stride 2 of bf16 x (B, C, H, W)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        out = x.new_empty(batch, height // 2, width // 2, channels).permute(0, 3, 1, 2)
        ctx.places = np.empty((batch, height // 2, width // 2, channels), np.uint8)
        ctx.shape = x.shape
        x = x.detach().contiguous(memory_format=torch.channels_last)
        kernels = _kernels()
        kernels.use_threads(torch.get_num_threads())
        kernels.largest(_bits(x), _bits(out), ctx.places)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        batch, channels, height, width = ctx.shape
        grad = grad.contiguous(memory_format=torch.channels_last)
        out = grad.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
        kernels = _kernels()
        kernels.use_threads(torch.get_num_threads())
        kernels.largest_gradient(_bits(grad), ctx.places, _bits(out))
        return out


def _bits(x: Tensor) -> np.ndarray:
    """bf16 (B, C, H, W), channels_last -> its memory as uint16 (B, H, W, C)."""
    return x.detach().permute(0, 2, 3, 1).view(torch.uint16).numpy()


def _rows(x: Tensor) -> np.ndarray:
    """bf16 (B, C, H, W), channels_last -> its memory as uint16 (positions, C)."""
    bits = _bits(x)
    return bits.reshape(-1, bits.shape[3])


def _wide(images: int, *tensors: Tensor) -> list[np.ndarray]:
    """`_rows` of tensors of one shape, a few positions in each row where channels are few.

    images: of which no two may share a row. A row is a loop, which takes a while to begin.
    """
    rows = [_rows(x) for x in tensors]
    count, channels = rows[0].shape
    positions = 1
    while 2 * positions * channels <= CHANNELS and count // images % (2 * positions) == 0:
        positions *= 2
    return [r.reshape(count // positions, positions * channels) for r in rows]


def _tiled(rows: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """Each channel's values (…, C) in fp32, for every position in a row of `_wide`."""
    return [np.tile(v.astype(np.float32), (1, rows.shape[1] // v.shape[1])) for v in values]
