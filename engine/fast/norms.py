"""Group and instance norm of bf16 images on a CPU, several times faster than the kernels."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FastGroupNorm(nn.GroupNorm):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is not torch.bfloat16 or self.num_groups == 1:  # one group is fast already
            return super().forward(x)
        return _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)


class FastInstanceNorm(nn.InstanceNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is not torch.bfloat16:
            return super().forward(x)
        return _GroupNorm.apply(x, self.weight, self.bias, self.num_features, self.eps)


class _GroupNorm(torch.autograd.Function):
    """Group norm (Wu and He 2018, arXiv 1803.08494, equations 1 to 6) of bf16 x (B, C, H, W).

    The gradient needs two sums for each image and channel; with them it is one pass over x.
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        batch, channels, height, width = x.shape
        if groups == channels:  # where the kernel is slow
            mean = x.sum((2, 3), dtype=torch.float32) / (height * width)
            rounded = mean.to(x.dtype)
            apart = x - rounded[:, :, None, None]
            variance = (apart * apart).sum((2, 3), dtype=torch.float32) / (height * width)
            rstd = (variance - (mean - rounded) ** 2 + eps).rsqrt()
            scale = rstd * weight
            shift = bias - mean * scale
            y = torch.addcmul(_per_channel(shift, x), _per_channel(scale, x), x)
        else:
            scale, shift = weight.to(x.dtype), bias.to(x.dtype)
            positions = height * width
            y, mean, rstd = torch.native_group_norm(
                x, scale, shift, batch, channels, positions, groups, eps
            )
        ctx.save_for_backward(x, weight, mean, rstd)
        ctx.groups = groups
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, rstd = ctx.saved_tensors
        batch, channels, height, width = x.shape
        shape = (batch, ctx.groups, channels // ctx.groups)
        count = height * width * shape[2]
        mean, rstd = (t.float().view(batch, -1, 1) for t in (mean, rstd))
        gamma = weight.float().view(1, *shape[1:])
        products = (grad * x).sum((2, 3), dtype=torch.float32).view(shape)
        sums = grad.sum((2, 3), dtype=torch.float32).view(shape)

        grad_weight = ((products - mean * sums) * rstd).sum(0).flatten()
        grad_bias = sums.sum(0).flatten()
        a = (products * gamma).sum(2, keepdim=True)
        b = (sums * gamma).sum(2, keepdim=True)
        of_x = (b * mean - a) * rstd**3 / count
        constant = -of_x * mean - b * rstd / count
        of_grad, of_x, constant = (
            _per_channel(t.expand(shape).reshape(batch, channels), x)
            for t in (rstd * gamma, of_x, constant)
        )
        grad_x = torch.addcmul(torch.addcmul(constant, of_x, x), of_grad, grad)
        return grad_x, grad_weight, grad_bias, None, None


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype)[:, :, None, None]
