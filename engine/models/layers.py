"""What every network is made of: activations, norms, channel counts and their initialization."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from engine.errors import ConfigError
from engine.models.whitening import Whitening

MAX_GROUPS = 32
MAX_CHANNELS = 2**20  # keeps every tensor size within 64 bits; memory ends long before


def _group_norm(channels: int) -> nn.GroupNorm:
    groups = next(g for g in range(MAX_GROUPS, 0, -1) if channels % g == 0)
    return nn.GroupNorm(groups, channels)


ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "celu": nn.CELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "mish": nn.Mish,
}

NORMS: dict[str, Callable[[int], nn.Module]] = {  # each takes the channel count
    "batch": nn.BatchNorm2d,
    "instance": lambda channels: nn.InstanceNorm2d(channels, affine=True),
    "layer": lambda channels: nn.GroupNorm(1, channels),  # over channels and positions
    "group": _group_norm,  # 32 groups, or the most below that divide the channels
}


@dataclass(frozen=True)
class Layers:
    """The choices a network is built from. Every activation and norm it has comes from here."""

    activation: Callable[[], nn.Module]
    norm: Callable[[int], nn.Module]
    width: float  # multiplier on every channel count, above 0
    inputs: int = 3  # channels that the first convolution sees

    def channels(self, base: int, multiple_of: int = 1) -> int:
        """`base` channels times the width, rounded to `multiple_of` (at least one such multiple).

        Raises ConfigError when nothing is left of the layer, or when it is absurdly wide.
        """
        scaled = base * self.width
        if scaled > MAX_CHANNELS:
            raise ConfigError("model.width", f"{self.width:g} makes a layer of {base} too wide")
        if round(scaled) == 0:
            raise ConfigError(
                "model.width", f"{self.width:g} leaves no channels in a layer of {base}"
            )
        return max(multiple_of, round(scaled / multiple_of) * multiple_of)


@dataclass(frozen=True)
class Architecture:
    """One entry of ARCHITECTURES: how to build a network, and what to tell a person about it."""

    build: Callable[[Layers, int], nn.Module]  # (layers, num_classes) -> network
    family: str
    description: str  # one line
    paper: str  # authors, year, arXiv address
    activation: str = "relu"  # the architecture's own, a key of ACTIVATIONS
    norm: str = "batch"  # likewise, of NORMS
    whitening: bool = False  # whether it has a whitening layer of its own


class IdentityConv(nn.Conv2d):
    """A 3×3 convolution without bias whose first output channels start as copies of its input."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    @torch.no_grad()
    def start_as_identity(self) -> None:
        """Overwrite the first min(inputs, outputs) filters; the others keep their values."""
        nn.init.dirac_(self.weight[: self.in_channels])


class Subsample(nn.Module):
    """Every `stride`-th row and column: (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    Stands before a 1×1 convolution in place of that convolution's own stride: in PyTorch 2.14 on a
    CPU the weight gradient of a strided 1×1 convolution with fewer than 16 input channels writes
    past its memory (channels_last, odd batches, two threads or more). See
    scripts/sweep_convolutions.py.
    """

    def __init__(self, stride: int):
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not x.is_contiguous(memory_format=torch.channels_last):
            return x[:, :, :: self.stride, :: self.stride].contiguous()
        # Sliced as (B, H, W, C): the gradient of the slice then is channels_last, as x is.
        rows = x.permute(0, 2, 3, 1)[:, :: self.stride, :: self.stride]
        return rows.contiguous().permute(0, 3, 1, 2)


def head(channels: int, num_classes: int) -> nn.Sequential:
    """Global average pool and one linear layer: (B, channels, H, W) -> (B, num_classes)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


@torch.no_grad()
def initialize(model: nn.Module, seed: int) -> None:
    """Set every parameter and buffer of `model` in place, from `seed` alone.

    PyTorch's own default scheme (convolutions and linear layers uniform within ±1/√fan_in, norms
    the identity), but drawn from a private generator: the global one is shared by all threads.
    Raises TypeError for a layer it has no rule for, rather than leave that layer unset.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
            if isinstance(module, IdentityConv):
                module.start_as_identity()
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm | Whitening):
            module.reset_parameters()  # ones, zeros and running statistics; draws nothing
        elif [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            raise TypeError(f"no initialization is known for {name} ({type(module).__name__})")
