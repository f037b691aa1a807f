"""Faster replacements of layers that PyTorch's own kernels compute slowly on a CPU.

`accelerate` swaps classes of modules in place; names, parameters and, up to rounding, results
stay. README.md lists the replacements. Nothing outside imports from inside this package.
"""

from __future__ import annotations

from torch import nn

from engine.device import Compute
from engine.fast import registry
from engine.fast.fusion.layers import compile_for
from engine.fast.registry import NAMES, table, without

__all__ = ["NAMES", "accelerate", "table", "without"]


def accelerate(
    model: nn.Module, compute: Compute, *, training: bool, compiled: bool = False
) -> nn.Module:
    """The same network with faster layers where `compute` is a CPU that they are made for.

    training: norms, activations and pooling are fused as well, in bf16; the first time that takes
    some seconds, in which numba compiles. compiled: the network is about to go through
    torch.compile, which fuses by itself; if that fails, call again without it. Where nothing
    applies (a GPU, bf16 without instructions for it), the network is left as it is.
    """
    target = registry.target_of(compute)
    if target is None:
        return model
    rows = registry.applicable(target, fusion=training and not compiled)
    if any(row.fusion for row in rows) and not compile_for(model):
        rows = [row for row in rows if not row.fusion]
    registry.swap(model, rows, target)
    return model
