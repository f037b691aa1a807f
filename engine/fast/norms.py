"""Group and instance norm of bf16 images, with a faster backward pass than PyTorch's kernels.

PyTorch's are several times slower in bf16 on a CPU. In training without torch.compile, the loops of
engine.fast.fusion replace these layers; they serve inference and torch.compile.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.models.layers import InstanceNorm2d


class FastGroupNorm(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        # PyTorch's kernel is as fast for a single group.
        if x.dtype is not torch.bfloat16 or self.num_groups == 1:
            return super().forward(x)
        return _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)


class FastInstanceNorm(InstanceNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is not torch.bfloat16:
            return super().forward(x)
        return _GroupNorm.apply(x, self.weight, self.bias, self.num_features, self.eps)


class _GroupNorm(torch.autograd.Function):
    """Group norm of bf16 x (B, C, H, W): Wu and He 2018, arXiv 1803.08494, equations 1 to 6.

    Given two sums per image and channel, the input gradient takes one pass over x. The sums are
    taken over x minus its mean rounded to bf16, so that large means cost no precision.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels, height, width = x.shape
        if groups == channels:  # PyTorch's forward kernel is slow for this case, too
            mean = x.sum((2, 3), dtype=torch.float32) / (height * width)
            centered, rest = _center(x, mean)
            variance = (centered * centered).sum((2, 3), dtype=torch.float32) / (height * width)
            rstd = (variance - rest**2 + eps).rsqrt()
            scale = rstd * weight
            shift = bias - rest * scale
            y = torch.addcmul(_per_channel(shift, x), _per_channel(scale, x), centered)
        else:
            # With fp32 weights the kernel returns fp32 statistics.
            y, mean, rstd = torch.native_group_norm(
                x, weight, bias, batch, channels, height * width, groups, eps
            )
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.groups = groups
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        batch, channels, height, width = x.shape
        shape = (batch, ctx.groups, channels // ctx.groups)
        count = height * width * shape[2]
        rstd = rstd.view(batch, -1, 1)
        mean = mean.view(batch, -1, 1).expand(shape).reshape(batch, channels)
        centered, rest = _center(x, mean)
        rest = rest.view(shape)
        gamma = weight.float().view(1, *shape[1:])
        products = (grad * centered).sum((2, 3), dtype=torch.float32).view(shape)
        sums = grad.sum((2, 3), dtype=torch.float32).view(shape)

        products = products - rest * sums
        grad_weight = (products * rstd).sum(0).flatten()
        grad_bias = sums.sum(0).flatten()
        a = (products * gamma).sum(2, keepdim=True)
        b = (sums * gamma).sum(2, keepdim=True)
        # grad_x = grad_coef · grad + x_coef · centered + constant
        x_coef = -a * rstd**3 / count
        constant = -x_coef * rest - b * rstd / count
        grad_coef, x_coef, constant = (
            _per_channel(t.expand(shape).reshape(batch, channels), x)
            for t in (rstd * gamma, x_coef, constant)
        )
        grad_x = torch.addcmul(torch.addcmul(constant, x_coef, centered), grad_coef, grad)
        return grad_x, grad_weight, grad_bias, None, None


def _center(x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
    """x - bf16(mean), bf16 (B, C, H, W), and mean - bf16(mean), fp32 (B, C)."""
    rounded = mean.to(x.dtype)
    return x - rounded[:, :, None, None], mean - rounded


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    """(B, C) -> (B, C, 1, 1), in the dtype of `like`."""
    return values.to(like.dtype)[:, :, None, None]
