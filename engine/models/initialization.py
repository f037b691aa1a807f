"""Initialization of a network's weights from a private generator."""

import math

import torch
from torch import nn

from engine.models.layers import IdentityConv
from engine.models.whitening import Whitening


@torch.no_grad()
def initialize(model: nn.Module, generator: torch.Generator) -> None:
    """Set every parameter and buffer of `model` in place, with values drawn from `generator`.

    PyTorch's default scheme: convolutions and linear layers uniform within ±1/√fan_in, norms the
    identity. PyTorch's own `reset_parameters` would draw from the global generator, which all
    threads share. The first filters of an `IdentityConv` are set to the identity.

    Raises TypeError for a layer with parameters or buffers that it has no rule for.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
            if isinstance(module, IdentityConv):
                module.reset_to_identity()
        elif isinstance(module, nn.BatchNorm2d | nn.InstanceNorm2d | nn.GroupNorm | Whitening):
            module.reset_parameters()  # constants: draws nothing
        elif [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            raise TypeError(f"no initialization is known for {name} ({type(module).__name__})")
