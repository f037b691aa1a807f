"""Layers that compute the same faster, where PyTorch's own kernels are slow: on a CPU.

`accelerate` swaps the class of single layers in place. Names, parameters and results stay (up to
rounding); the figures are those of bench.throughput.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.device import Compute, fastest_precision, has_amx, has_onednn
from engine.fast import depthwise, grouped, pointwise, side_by_side, small_maps, winograd
from engine.fast.activations import FastCELU, FastELU
from engine.fast.norms import FastGroupNorm, FastInstanceNorm
from engine.models.layers import IdentityConv

# Their gradient needs their output only, and no layer before them keeps its own.
IN_PLACE = (nn.ReLU, nn.LeakyReLU)


def accelerate(model: nn.Module, compute: Compute) -> nn.Module:
    """The same network, with faster layers where `compute` is a CPU.

    In bf16 only if the CPU has instructions for it; in fp32 only where the kernels are those that
    the layers were measured against (oneDNN's and MKL's). Anything else is left as it is.
    """
    if compute.device.type != "cpu":
        return model
    if compute.precision == "bf16" and fastest_precision(compute.device) == "bf16":
        amx = has_amx()
        _swap(model, {**FASTER_BF16, **FASTER_AMX} if amx else FASTER_BF16, in_place=not amx)
    elif compute.precision == "fp32" and has_onednn():
        _swap(model, FASTER_FP32, in_place=True)
    return model


def _swap(model: nn.Module, faster: dict[type, type], in_place: bool) -> None:
    for module in model.modules():
        if isinstance(module, IN_PLACE):
            # One tensor less to take; but on CPUs with AMX it is faster to write to another.
            module.inplace = in_place
        module.__class__ = faster.get(type(module), type(module))


class Bf16Conv(nn.Conv2d):
    """For CPUs whose instructions for bf16 are dot products."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.is_autocast_enabled("cpu") or self.padding_mode != "zeros":
            return super().forward(x)
        return self.faster(x.to(torch.bfloat16), self.weight.to(torch.bfloat16))

    def faster(self, x: Tensor, weight: Tensor) -> Tensor:
        """What forward gives, of images and filters in bf16."""
        if depthwise.pays(self):
            return _biased(depthwise.convolve(x, weight), self.bias)
        if small_maps.pays(self, x, torch.bfloat16):
            return _biased(small_maps.product(x, weight, self.stride[0]), self.bias)
        return self._conv_forward(x, weight, self.bias)


class AmxConv(Bf16Conv):
    """For CPUs with AMX, which multiply whole tiles: how a map is laid out matters more."""

    def faster(self, x: Tensor, weight: Tensor) -> Tensor:
        if self.kernel_size == (1, 1) and self.groups == 1 and self.padding in ("valid", (0, 0)):
            return _pointwise(x, weight, self.stride, self.bias)
        if side_by_side.pays(self, x):
            return _biased(side_by_side.convolve(x, weight, self.stride[0]), self.bias)
        if (count := grouped.at_once(self)) > 1 and not depthwise.pays(self):
            weight = grouped.merge(weight, self.groups, count)
            shape = (self.stride, self.padding, self.dilation, self.groups // count)
            return torch.conv2d(x, weight, self.bias, *shape)
        return super().faster(x, weight)


def _pointwise(x: Tensor, weight: Tensor, stride: tuple[int, int], bias: Tensor | None) -> Tensor:
    """A 1×1 convolution is a matrix product, and of the kept positions only."""
    # In this order, as the slices' gradient then has the layout of x.
    rows = x.permute(0, 2, 3, 1)[:, :: stride[0], :: stride[1]]
    # Flat: of rows with gaps in them `linear` would make a product for each, of copied weights.
    bias = None if bias is None else bias.to(x.dtype)
    out = pointwise.product(rows.flatten(0, 2), weight.flatten(1), bias)
    return out.unflatten(0, rows.shape[:3]).permute(0, 3, 1, 2)


class Fp32Conv(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype is torch.float32 and not torch.is_autocast_enabled("cpu"):
            if winograd.pays(self, x):
                return _biased(winograd.convolve(x, self.weight), self.bias)
            if small_maps.pays(self, x, torch.float32):
                return _biased(small_maps.product(x, self.weight, self.stride[0]), self.bias)
        return super().forward(x)


def _biased(out: Tensor, bias: Tensor | None) -> Tensor:
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]


FASTER_BF16: dict[type, type] = {
    nn.Conv2d: Bf16Conv,
    IdentityConv: Bf16Conv,
    nn.GroupNorm: FastGroupNorm,
    nn.InstanceNorm2d: FastInstanceNorm,
    nn.ELU: FastELU,
    nn.CELU: FastCELU,
}
FASTER_AMX: dict[type, type] = {nn.Conv2d: AmxConv, IdentityConv: AmxConv}
FASTER_FP32: dict[type, type] = {nn.Conv2d: Fp32Conv, IdentityConv: Fp32Conv}
