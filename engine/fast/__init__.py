"""Faster replacements of layers that PyTorch's own kernels compute slowly on a CPU.

`accelerate` swaps classes of modules in place. Names and parameters are unchanged, and so are
results up to rounding. README.md lists the replacements. Other packages import only this module.
"""

from __future__ import annotations

from torch import nn

from engine.device import Compute
from engine.fast import registry
from engine.fast.fusion.layers import compile_for
from engine.fast.registry import NAMES, table, without

__all__ = ["NAMES", "accelerate", "table", "used", "without"]


def accelerate(
    model: nn.Module, compute: Compute, *, training: bool, compiled: bool = False
) -> nn.Module:
    """Swap layers of `model` in place for the faster ones available on `compute`; return `model`.

    training: also fuse norms, activations and pooling, in bf16; numba compiles the loops on first
    use, which takes some seconds. compiled: the network will go through torch.compile, which fuses
    these itself; if compilation fails, call again without it. Where no replacement applies (a GPU,
    bf16 without hardware support), the network is unchanged.
    """
    target = registry.target_of(compute)
    if target is None:
        return model
    rows = registry.applicable(target, fusion=training and not compiled)
    if any(row.fusion for row in rows) and not compile_for(model):
        rows = [row for row in rows if not row.fusion]
    registry.swap(model, rows, target)
    return model


def used(compute: Compute) -> list[str]:
    """Names of the replacements that `accelerate` makes for training on `compute`."""
    target = registry.target_of(compute)
    return [row.name for row in registry.applicable(target, fusion=True)] if target else []
