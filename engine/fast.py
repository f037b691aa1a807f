"""Layers that compute the same faster, where PyTorch's own kernels are slow: bf16 on a CPU.

`accelerate` swaps the class of single layers in place. Names, parameters and results stay (up to
bf16's rounding); the figures are those of bench.throughput.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.device import Compute, fastest_precision
from engine.models.layers import IdentityConv

SMALL_MAP = 16  # positions of an output: 4×4
# Their gradient needs their output only, and no layer before them keeps its own.
IN_PLACE = (nn.ReLU, nn.LeakyReLU)
FEW_CHANNELS = 128  # below it a matrix product has too little to do


def accelerate(model: nn.Module, compute: Compute) -> nn.Module:
    """The same network, with faster layers where `compute` is a CPU with bf16 instructions.

    On any other device and precision it is left as it is.
    """
    has_bf16 = compute.device.type == "cpu" and fastest_precision(compute.device) == "bf16"
    if has_bf16 and compute.precision == "bf16":
        for module in model.modules():
            if isinstance(module, IN_PLACE):
                module.inplace = True  # one tensor less to take and to write
            if faster := FASTER.get(type(module)):
                module.__class__ = faster
    return model


class SmallMapConv(nn.Conv2d):
    """A 3×3 convolution that becomes a matrix product where its output has few positions.

    Convolution kernels are made for large maps: at 4×4 the weight's gradient runs at half the
    speed of the same product, im2col included (Chellapilla et al. 2006).
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self._is_small(x):
            return super().forward(x)
        weight = self.weight.to(torch.bfloat16)
        out = _Product.apply(x.to(torch.bfloat16), weight, self.stride[0])
        return out if self.bias is None else out + self.bias.to(out.dtype)[:, None, None]

    def _is_small(self, x: Tensor) -> bool:
        height, width = ((size - 1) // self.stride[0] + 1 for size in x.shape[2:])
        return (
            torch.is_autocast_enabled("cpu")
            and height * width <= SMALL_MAP
            and self.kernel_size == (3, 3)
            and self.padding == (1, 1)
            and self.dilation == (1, 1)
            and self.groups == 1
            and min(self.in_channels, self.out_channels) >= FEW_CHANNELS
        )


class _Product(torch.autograd.Function):
    """3×3 convolution with padding 1 of bf16 x (B, I, H, W) and weight (O, I, 3, 3), by im2col."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        columns, (batch, height, width) = _im2col(x, stride)
        out = columns @ weight.permute(0, 2, 3, 1).flatten(1).T
        return out.view(batch, height, width, -1).permute(0, 3, 1, 2)  # channels_last

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:  # the kernel for this one is no slower than a product
            stride, one, zero = [ctx.stride] * 2, [1, 1], [0, 0]
            grad_x = torch.ops.aten.convolution_backward(
                grad, x, weight, None, stride, one, one, False, zero, 1, [True, False, False]
            )[0]
        if ctx.needs_input_grad[1]:
            columns, _ = _im2col(x, ctx.stride)
            rows = grad.permute(0, 2, 3, 1).reshape(len(columns), -1)
            outputs, inputs = weight.shape[:2]
            grad_weight = (rows.T @ columns).view(outputs, 3, 3, inputs).permute(0, 3, 1, 2)
        return grad_x, grad_weight, None


def _im2col(x: Tensor, stride: int) -> tuple[Tensor, tuple[int, int, int]]:
    """The 3×3 patches of x (B, I, H, W), padded by 1: (B·H'·W', 9·I), and (B, H', W')."""
    batch, inputs = x.shape[:2]
    height, width = ((size - 1) // stride + 1 for size in x.shape[2:])
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    b, h, w, c = padded.stride()
    shape = (batch, height, width, 3, 3, inputs)
    patches = padded.as_strided(shape, (b, h * stride, w * stride, h, w, c))
    return patches.reshape(batch * height * width, 9 * inputs), (batch, height, width)


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


class FastELU(nn.ELU):
    def forward(self, x: Tensor) -> Tensor:
        return _ELU.apply(x) if _is_plain(self, x) else super().forward(x)


class FastCELU(nn.CELU):
    def forward(self, x: Tensor) -> Tensor:
        return _ELU.apply(x) if _is_plain(self, x) else super().forward(x)


def _is_plain(module: nn.ELU | nn.CELU, x: Tensor) -> bool:
    """With α = 1 the two are the same function."""
    return module.alpha == 1 and x.dtype is torch.bfloat16


class _ELU(torch.autograd.Function):
    """max(x, 0) + exp(min(x, 0)) - 1 (Clevert et al. 2015, arXiv 1511.07289) of bf16 x.

    By exp in fp32, which is vectorized, where the kernel's expm1 is not.
    """

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        negative = x.clamp(max=0).float().exp_().sub_(1)
        y = negative.add_(x.clamp(min=0)).to(x.dtype)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        (y,) = ctx.saved_tensors
        return torch.ops.aten.elu_backward(grad, 1, 1, 1, True, y)


FASTER: dict[type, type] = {
    nn.Conv2d: SmallMapConv,
    IdentityConv: SmallMapConv,
    nn.GroupNorm: FastGroupNorm,
    nn.InstanceNorm2d: FastInstanceNorm,
    nn.ELU: FastELU,
    nn.CELU: FastCELU,
}
