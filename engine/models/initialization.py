"""Initialization of a network's weights from a private generator."""

import math

import torch
from torch import nn

from engine.models.layers import IdentityConv
from engine.models.whitening import Whitening


@torch.no_grad()
def initialize(model: nn.Module, generator: torch.Generator) -> None:
    """Initialize every parameter and buffer of `model` in place, drawing from `generator`.

    PyTorch's default scheme: U(-1/√fan_in, 1/√fan_in) for convolutions and linear layers, weight 1
    and bias 0 for norms. PyTorch's own `reset_parameters` would draw from the global generator,
    which all threads share. The first filters of an `IdentityConv` are set to the identity.

    Raises TypeError for an unsupported layer that has parameters or buffers.
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
            module.reset_parameters()  # constants only
        elif [*module.parameters(recurse=False), *module.buffers(recurse=False)]:
            raise TypeError(f"no initialization rule for {name} ({type(module).__name__})")
