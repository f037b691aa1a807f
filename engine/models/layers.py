"""Building blocks of the networks: activations, norms, channel counts and two small layers."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from engine.errors import ConfigError

MAX_GROUPS = 32
MAX_CHANNELS = 2**20  # per layer; keeps every tensor size within 64 bits


class InstanceNorm2d(nn.InstanceNorm2d):
    """nn.InstanceNorm2d with a correct gradient for a batch of one image.

    In PyTorch 2.14 on a CPU its backward is wrong for a single image and a channels_last gradient
    (relative error above 1, measured against fp64). Group norm with one group per channel is the
    same function.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 1 or x[0, 0].numel() == 1:  # a 1×1 input raises ValueError
            return super().forward(x)
        return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)


def _group_norm(channels: int) -> nn.GroupNorm:
    groups = next(g for g in range(MAX_GROUPS, 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


@dataclass(frozen=True)
class Kind:
    """An activation or norm: call it to make a layer."""

    make: Callable[..., nn.Module]  # a norm's takes the channel count
    note: str  # one line

    def __call__(self, *channels: int) -> nn.Module:
        return self.make(*channels)


ACTIVATIONS: dict[str, Kind] = {
    "relu": Kind(nn.ReLU, "max(0, x): the usual choice, and the fastest"),
    "leaky_relu": Kind(nn.LeakyReLU, "x above 0, 0.01 x below, so that no unit stops learning"),
    "celu": Kind(nn.CELU, "x above 0, exp(x) − 1 below: for α = 1, as here, identical to elu"),
    "gelu": Kind(nn.GELU, "x Φ(x) with the normal distribution Φ: smooth, usual in transformers"),
    "silu": Kind(nn.SiLU, "x sigmoid(x), also called swish: smooth, usual in EfficientNets"),
    "elu": Kind(nn.ELU, "x above 0, exp(x) − 1 below: smooth, outputs nearer to a mean of 0"),
    "mish": Kind(nn.Mish, "x tanh(softplus(x)): much like silu, somewhat slower"),
}

NORMS: dict[str, Kind] = {
    "batch": Kind(nn.BatchNorm2d, "each channel over the batch: the usual choice for images"),
    "instance": Kind(
        lambda channels: InstanceNorm2d(channels, affine=True),
        "each channel of each image by itself; removes its contrast",
    ),
    "layer": Kind(
        lambda channels: nn.GroupNorm(1, channels),  # over channels and positions
        "all channels of an image together; the same for any batch size",
    ),
    "group": Kind(  # as many groups up to 32 as divide the channels
        _group_norm, "groups of channels of an image; the same for any batch size"
    ),
}


@dataclass(frozen=True)
class Layers:
    """Factories of a network's layers, the only source of its activations and norms."""

    activation: Callable[[], nn.Module]
    norm: Callable[[int], nn.Module]
    width: float  # multiplier on every channel count, above 0
    inputs: int = 3  # input channels of the first convolution

    def channels(self, base: int, multiple_of: int = 1) -> int:
        """`base` × width, rounded to a multiple of `multiple_of`, at least `multiple_of`.

        Raises ConfigError if that rounds to 0 channels or exceeds MAX_CHANNELS.
        """
        scaled = base * self.width
        if scaled > MAX_CHANNELS:
            raise ConfigError("model.width", f"{self.width:g} makes a layer of {base} too wide")
        if round(scaled) == 0:
            raise ConfigError(
                "model.width", f"{self.width:g} leaves no channels in a layer of {base}"
            )
        return max(multiple_of, round(scaled / multiple_of) * multiple_of)


class IdentityConv(nn.Conv2d):
    """A 3×3 convolution without bias, initialized to copy its input to its first channels."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    @torch.no_grad()
    def reset_to_identity(self) -> None:
        """Set the first min(inputs, outputs) filters to the identity; the others are kept."""
        nn.init.dirac_(self.weight[: self.in_channels])


class Subsample(nn.Module):
    """Every `stride`-th row and column: (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    Replaces the stride of the 1×1 convolution that follows: on a CPU, PyTorch 2.14 writes out of
    bounds in the weight gradient of a strided 1×1 convolution with fewer than 16 input channels
    (channels_last, odd batch size, two threads or more). See scripts/sweep_convolutions.py.
    """

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not x.is_contiguous(memory_format=torch.channels_last):
            return x[:, :, :: self.stride, :: self.stride].contiguous()
        # Slice as (B, H, W, C), so that the gradient of the slice is channels_last, like x.
        rows = x.permute(0, 2, 3, 1)[:, :: self.stride, :: self.stride]
        return rows.contiguous().permute(0, 3, 1, 2)
