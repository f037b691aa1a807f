"""Registry of the replacements, one row each, for the swap, the benchmark and the README's table.

A convolution tries the algorithms in this order, fastest first.
"""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import nn

from engine.device import Compute, fastest_precision, has_amx, has_onednn
from engine.fast.activations import FastCELU, FastELU, InPlaceLeakyReLU, InPlaceReLU
from engine.fast.conv import depthwise, grouped, im2col, pointwise, side_by_side, winograd
from engine.fast.conv.layers import Algorithm, Bf16Conv, FastConv, Fp32Conv
from engine.fast.conv.shapes import MIN_CHANNELS
from engine.fast.fusion.dense import FusedDenseBlock
from engine.fast.fusion.layers import FusedBlock, FusedMaxPool, FusedSequential
from engine.fast.norms import FastGroupNorm, FastInstanceNorm
from engine.models.densenet import DenseBlock
from engine.models.layers import IdentityConv, InstanceNorm2d
from engine.models.resnet import Block


class Target(enum.Enum):
    """A precision and the CPU instruction set that computes it."""

    AMX = "bf16, AMX"  # matrix multiplication by tiles
    AVX512_BF16 = "bf16, AVX512-BF16"  # vector dot products
    FP32 = "fp32, any x86"  # with oneDNN and MKL, which the layers were benchmarked against


BF16 = (Target.AMX, Target.AVX512_BF16)


@dataclass(frozen=True)
class Replacement:
    """One replacement: the layer or pattern, its substitute, and where it applies."""

    name: str  # for `bench.throughput --without`
    replaces: str  # description of the layer or pattern
    by: str  # description of the computation
    targets: tuple[Target, ...]
    condition: str = "any"  # description; the layer or algorithm checks it at each call
    layers: Mapping[type[nn.Module], type[nn.Module]] = field(default_factory=dict)  # class swaps
    algorithm: Algorithm | None = None  # for the convolutions, which share one swapped class
    fusion: bool = False  # loops compiled by numba: in training without torch.compile only


def _algorithm(module) -> Algorithm:
    return Algorithm(module.applies, module.convolve)


REPLACEMENTS = (
    Replacement(
        name="winograd",
        replaces="3×3 convolution, stride 1",
        by="Winograd's F(4×4, 3×3)",
        targets=(Target.FP32,),
        condition=f"inputs × outputs ≥ {winograd.MIN_CHANNEL_PRODUCT:,} channels, "
        f"≥ {winograd.MIN_TILES} tiles in the batch, at most half the multiplications",
        algorithm=_algorithm(winograd),
    ),
    Replacement(
        name="pointwise",
        replaces="1×1 convolution",
        by="matrix product; batched one for the weight gradient",
        targets=(Target.AMX,),
        condition="no groups, no padding",
        algorithm=_algorithm(pointwise),
    ),
    Replacement(
        name="side_by_side",
        replaces="3×3 convolution of small feature maps",
        by="several images side by side in one wide map",
        targets=(Target.AMX,),
        condition=f"output ≤ {side_by_side.MAX_POSITIONS} positions, ≥ {MIN_CHANNELS} channels, "
        "even batch size",
        algorithm=_algorithm(side_by_side),
    ),
    Replacement(
        name="depthwise",
        replaces="depthwise convolution",
        by="gradients as forward convolutions",
        targets=BF16,
        condition="odd kernel, stride 1, same padding",
        algorithm=_algorithm(depthwise),
    ),
    Replacement(
        name="grouped",
        replaces="grouped convolution",
        by="merged groups with block-diagonal weights",
        targets=(Target.AMX,),
        condition=f"≤ {grouped.CHANNELS // 2} input channels per group",
        algorithm=_algorithm(grouped),
    ),
    Replacement(
        name="im2col",
        replaces="3×3 convolution of small feature maps",
        by="im2col and one matrix product",
        targets=(*BF16, Target.FP32),
        condition=f"output ≤ {im2col.MAX_POSITIONS[torch.bfloat16]} positions in bf16, "
        f"{im2col.MAX_POSITIONS[torch.float32]} in fp32, ≥ {MIN_CHANNELS} channels",
        algorithm=_algorithm(im2col),
    ),
    Replacement(
        name="group_norm",
        replaces="GroupNorm",
        by="backward pass from two sums per channel",
        targets=BF16,
        condition="more than one group",
        layers={nn.GroupNorm: FastGroupNorm},
    ),
    Replacement(
        name="instance_norm",
        replaces="InstanceNorm2d",
        by="both passes from two sums per channel",
        targets=BF16,
        layers={InstanceNorm2d: FastInstanceNorm},
    ),
    Replacement(
        name="elu",
        replaces="ELU, CELU",
        by="exp in fp32 instead of expm1",
        targets=BF16,
        condition="α = 1",
        layers={nn.ELU: FastELU, nn.CELU: FastCELU},
    ),
    Replacement(
        name="in_place",
        replaces="ReLU, LeakyReLU",
        by="in-place version",
        targets=(Target.AVX512_BF16, Target.FP32),
        layers={nn.ReLU: InPlaceReLU, nn.LeakyReLU: InPlaceLeakyReLU},
    ),
    Replacement(
        name="norm_act",
        replaces="norm and activation in a Sequential",
        by="one compiled pass",
        targets=BF16,
        condition="affine batch, group or instance norm; activations of engine.models",
        layers={nn.Sequential: FusedSequential},
        fusion=True,
    ),
    Replacement(
        name="residual",
        replaces="final norm, addition and activation of a residual block",
        by="one compiled pass",
        targets=BF16,
        condition="as for norm_act",
        layers={Block: FusedBlock},
        fusion=True,
    ),
    Replacement(
        name="max_pool",
        replaces="MaxPool2d",
        by="one compiled pass",
        targets=BF16,
        condition="2×2, stride 2",
        layers={nn.MaxPool2d: FusedMaxPool},
        fusion=True,
    ),
    Replacement(
        name="dense",
        replaces="DenseBlock",
        by="compiled; feature maps written once, statistics computed once",
        targets=BF16,
        condition="batch norm",
        layers={DenseBlock: FusedDenseBlock},
        fusion=True,
    ),
)
NAMES = tuple(row.name for row in REPLACEMENTS)

_left_out: ContextVar[frozenset[str]] = ContextVar("left_out", default=frozenset())


@contextlib.contextmanager
def without(*names: str) -> Iterator[None]:
    """Context manager that disables these replacements in `accelerate`, in this thread.

    Raises ValueError for a name that is not in NAMES.
    """
    if unknown := set(names) - set(NAMES):
        raise ValueError(f"unknown replacement {min(unknown)!r}; known: {', '.join(NAMES)}")
    token = _left_out.set(_left_out.get() | set(names))
    try:
        yield
    finally:
        _left_out.reset(token)


def target_of(compute: Compute) -> Target | None:
    """Target of `compute`; None on a GPU, for fp16, and on CPUs without the instructions."""
    if compute.device.type != "cpu":
        return None
    if compute.precision == "bf16" and fastest_precision(compute.device) == "bf16":
        return Target.AMX if has_amx() else Target.AVX512_BF16
    return Target.FP32 if compute.precision == "fp32" and has_onednn() else None


def applicable(target: Target, *, fusion: bool) -> list[Replacement]:
    """Rows for this target, except those disabled by `without`. fusion: include fused layers."""
    rows = [row for row in REPLACEMENTS if target in row.targets and (fusion or not row.fusion)]
    return [row for row in rows if row.name not in _left_out.get()]


def swap(model: nn.Module, rows: list[Replacement], target: Target) -> None:
    """Swap the classes of modules in place. Only this function assigns to `__class__`."""
    classes = {old: new for row in rows for old, new in row.layers.items()}
    algorithms = tuple(row.algorithm for row in rows if row.algorithm is not None)
    if algorithms:
        classes |= dict.fromkeys(
            (nn.Conv2d, IdentityConv), Fp32Conv if target is Target.FP32 else Bf16Conv
        )
    for module in model.modules():
        module.__class__ = classes.get(type(module), type(module))
        if isinstance(module, FastConv):
            module.algorithms = algorithms


def table() -> str:
    """The registry as a Markdown table, for README.md."""
    targets = tuple(Target)
    header = ("name", "replaces", "by", "condition", *(t.value for t in targets), "when")
    lines = [header, ("---",) * len(header)]
    for row in REPLACEMENTS:
        where = ("yes" if target in row.targets else "" for target in targets)
        when = "training" if row.fusion else "always"
        lines.append((f"`{row.name}`", row.replaces, row.by, row.condition, *where, when))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
