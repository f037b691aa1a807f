"""Norm, residual addition and activation in one pass, for bf16 images on a CPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.fast.fusion import loops, statistics
from engine.fast.fusion.activations import COSTLY, IDENTITY, kind_of
from engine.fast.fusion.arrays import as_wide_rows, tile

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d)


def run(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Output of nn.Sequential(*modules), each norm fused with an activation that follows it."""
    last = len(modules) - 1
    index = 0
    while index <= last:
        module = modules[index]
        if isinstance(module, NORMS):
            activation = modules[index + 1] if index < last else None
            if kind_of(activation) is None:
                activation = None
            x = norm_act(module, activation, x)
            index += activation is not None
        elif kind_of(module) in COSTLY and is_bf16_image(x):  # PyTorch is as fast for others
            x = _apply(x, None, None, None, kind_of(module), None)
        else:
            x = module(x)
        index += 1
    return x


def norm_act(
    norm: nn.Module, activation: nn.Module | None, x: Tensor, other: Tensor | None = None
) -> Tensor:
    """activation(norm(x) + other), for x and other (B, C, H, W).

    Fused for bf16 and the norms and activations that the loops support; otherwise module by module.
    """
    kind = IDENTITY if activation is None else kind_of(activation)
    other_fits = other is None or is_bf16_image(other)
    if kind is None or not is_supported(norm, x) or not other_fits:
        x = norm(x)
        x = x if other is None else x + other
        return x if activation is None else run([activation], x)
    groups = _groups(norm)
    if groups is not None:
        mean, variance = statistics.of_groups(x, groups)
    elif norm.training:
        mean, variance = statistics.of_batch(x)
        statistics.update_running(norm, mean, variance, x.numel() // x.shape[1])
    else:
        mean, variance = statistics.running(norm)
    mean, variance = np.atleast_2d(mean), np.atleast_2d(variance)
    rstd = 1 / np.sqrt(variance + norm.eps)
    return _apply(x, norm.weight, norm.bias, other, kind, (mean, rstd, groups))


def fork(x: Tensor) -> tuple[Tensor, Tensor]:
    """x for each of two consumers, so that `norm_act` receives their gradients separately.

    Its backward loop then adds them, which autograd would do in a separate pass. The second is x
    itself if x does not come from `norm_act` or has been changed in place since.
    """
    alias, *origin = getattr(x, "alias", (None,))
    return x, alias if alias is not None and origin == [x.grad_fn, x._version] else x


def is_bf16_image(x: Tensor) -> bool:
    """Whether x is a bf16 batch of images that is not being traced by torch.compile."""
    is_image = x.dtype is torch.bfloat16 and x.dim() == 4 and x.numel() > 0
    return is_image and not torch.compiler.is_compiling()


def is_supported(norm: nn.Module, x: Tensor) -> bool:
    """Whether the loops support this norm, in its current mode, for x.

    Batch norm with affine parameters and running statistics (in eval mode only without gradients:
    the backward pass is that of training mode), group norm, or instance norm without running
    statistics.
    """
    if not isinstance(norm, NORMS) or not is_bf16_image(x) or norm.weight is None:
        return False
    if isinstance(norm, nn.GroupNorm):
        return True
    if isinstance(norm, nn.InstanceNorm2d):
        return not norm.track_running_stats and x.shape[2] * x.shape[3] > 1
    complete = norm.track_running_stats and norm.momentum is not None
    if norm.training:
        return complete and x.numel() > x.shape[1]
    return complete and not torch.is_grad_enabled()


def _groups(norm: nn.Module) -> int | None:
    """Number of normalization groups per image; None: batch statistics."""
    if isinstance(norm, nn.GroupNorm):
        return norm.num_groups
    return norm.num_features if isinstance(norm, nn.InstanceNorm2d) else None


def _apply(*args) -> Tensor:
    out, alias = _NormAct.apply(*args)
    if out.requires_grad:
        out.alias = alias, out.grad_fn, out._version
    return out


class _NormAct(torch.autograd.Function):
    """act(norm(x) + other) of bf16 x and other (B, C, H, W); norm and other are optional.

    Batch norm: Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1 and the gradients in its
    section 3. Group norm: Wu and He 2018, arXiv 1803.08494. `stats`: mean and 1/√(variance + ε),
    (1, C) of the batch or (B, C) of the groups of each image, and the number of groups. Returns
    the output twice, for two consumers; see `fork`.
    """

    @staticmethod
    def forward(
        ctx,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        other: Tensor | None,
        kind: int,
        stats: tuple[np.ndarray, np.ndarray, int | None] | None,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        kernels, channels = loops(), x.shape[1]
        if stats is None:
            mean, rstd = np.zeros((1, channels)), np.ones((1, channels))
            scale, shift, ctx.groups = rstd, mean, None
        else:
            mean, rstd, ctx.groups = stats
            scale = weight.detach().double().numpy() * rstd
            shift = bias.detach().double().numpy() - scale * mean
        x = x.detach().contiguous(memory_format=torch.channels_last)
        if other is not None:
            other = other.detach().contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, other)
        ctx.kind, ctx.has_norm = kind, stats is not None
        ctx.values = scale, shift, mean, rstd
        out = torch.empty_like(x)
        rows, other_rows, out_rows = as_wide_rows(len(scale), x, x if other is None else other, out)
        loop = kernels.activation(kind, other is not None)
        loop(rows, other_rows, out_rows, *tile(rows, scale, shift))
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
        # The loop for residual blocks adds up two gradients; elsewhere two are rare.
        grad = grads[0] if residual else sum(grads[1:], grads[0])
        second_grad = grads[1] if len(grads) == 2 else torch.zeros_like(grad) if residual else x
        stored = residual or kind in COSTLY  # always True without a norm
        grad_pre = torch.empty_like(x) if stored else x  # gradient of the activation's input
        tensors = (x, other if residual else x, grad, second_grad, grad_pre)
        rows, *others = as_wide_rows(len(scale), *tensors)
        parts = len(scale) if len(scale) > 1 else kernels.PARTS
        sums, products = np.zeros((2, parts, rows.shape[1]))
        loop = kernels.activation_gradient(kind, residual, stored)
        loop(rows, *others, *tile(rows, scale, shift, mean), sums, products)
        if not ctx.has_norm:
            return grad_pre, None, None, None, None, None

        channels = scale.shape[1]
        sums, products = (t.reshape(parts, -1, channels).sum(1) for t in (sums, products))
        count = rows.size // scale.size
        grad_weight, grad_bias, x_coef, constant = norm_gradients(
            sums, products, scale, mean, rstd, ctx.groups, count
        )
        grad_x = torch.empty_like(x)
        loop = kernels.norm_gradient(IDENTITY if stored else kind)
        images = as_wide_rows(len(scale), x, grad_pre if stored else grad, grad_x)
        loop(*images, *tile(rows, scale, shift, x_coef, constant))
        return grad_x, grad_weight, grad_bias, grad_pre if residual else None, None, None


def norm_gradients(
    sums: np.ndarray,
    products: np.ndarray,
    scale: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    groups: int | None,
    count: int,
) -> tuple[Tensor, Tensor, np.ndarray, np.ndarray]:
    """Gradients of γ and β, fp32 (C,), and the x_coef and constant for the loop `norm_gradient`.

    sums, products: (parts, C), from the loop `activation_gradient`. count: values per channel that
    share a mean.
    """
    if len(scale) == 1:
        sums, products = (t.sum(0, keepdims=True) for t in (sums, products))
    grad_weight, grad_bias = (torch.from_numpy(t.sum(0)).float() for t in (products * rstd, sums))
    # scale is γ · rstd; multiplied by it, the sums are those of γ · g, which groups need.
    sums, products = scale * sums, scale * products
    if groups is not None:
        sums, products = (statistics.over_groups(t, groups, np.sum) for t in (sums, products))
        count *= scale.shape[1] // groups
    x_coef = -(rstd**2) * products / count
    return grad_weight, grad_bias, x_coef, -sums / count - x_coef * mean
