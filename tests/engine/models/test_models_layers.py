"""A network contains no activations and norms but the chosen ones, and calls each of them."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.models import ACTIVATIONS, ARCHITECTURES, NORMS, build_on_meta
from engine.models.layers import InstanceNorm2d, Layers

ACTIVATION_TYPES = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "celu": nn.CELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "mish": nn.Mish,
}
NORM_TYPES = {
    "batch": nn.BatchNorm2d,
    "instance": InstanceNorm2d,
    "layer": nn.GroupNorm,
    "group": nn.GroupNorm,
}
STRUCTURE = {
    "Subsample",
    *(
        "Conv2d",
        "IdentityConv",
        "Whitening",
        "Linear",
        "ScaledLinear",
        "Sequential",
        "Identity",
        "Flatten",
    ),
    *("AdaptiveAvgPool2d", "AvgPool2d", "MaxPool2d"),
}
NONLINEAR_OPS = set(ACTIVATION_TYPES) | {"hardtanh", "sigmoid", "tanh", "clamp", "threshold"}


class OpCounter(TorchDispatchMode):
    """Counts dispatched operators, functional calls included."""

    def __init__(self):
        super().__init__()
        self.ops = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.ops[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def parts(model):
    """Leaf modules of `model` other than those of STRUCTURE: its activations and norms."""
    leaves = [m for m in model.modules() if not any(m.children())]
    return [m for m in leaves if type(m).__name__ not in STRUCTURE]


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_only_the_chosen_types_occur(arch):
    for activation, activation_type in ACTIVATION_TYPES.items():
        for norm, norm_type in NORM_TYPES.items():
            found = Counter(type(m) for m in parts(build_on_meta(arch, 10, activation, norm)))
            assert set(found) == {activation_type, norm_type}, (activation, norm)
    assert set(ACTIVATION_TYPES) == set(ACTIVATIONS)
    assert set(NORM_TYPES) == set(NORMS)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_each_activation_and_norm_is_called_once_and_nothing_else_is(arch):
    activations = list(ACTIVATIONS)
    activation = activations[list(ARCHITECTURES).index(arch) % len(activations)]
    model = build_on_meta(arch, 10, activation, "layer")
    calls = Counter()
    for module in parts(model):
        module.register_forward_hook(lambda m, *_: calls.update([m]))
    with OpCounter() as counter:
        model(torch.empty(2, 3, 32, 32, device="meta"))
    assert calls == Counter(parts(model))  # each instance exactly once
    kinds = Counter(type(m) for m in calls)
    used = {op: n for op, n in counter.ops.items() if op in NONLINEAR_OPS}
    assert used == {activation: kinds[ACTIVATION_TYPES[activation]]}
    norms = {op: n for op, n in counter.ops.items() if "norm" in op}
    assert norms == {"native_group_norm": kinds[nn.GroupNorm]}


def test_norms_of_a_given_channel_count():
    assert NORMS["layer"](48).num_groups == 1
    groups = {c: NORMS["group"](c).num_groups for c in (1, 7, 32, 48, 64, 77, 96, 37)}
    assert groups == {1: 1, 7: 7, 32: 32, 48: 24, 64: 32, 77: 11, 96: 32, 37: 1}
    assert NORMS["instance"](8).weight.shape == (8,)


def test_channels_are_rounded_to_the_nearest_multiple():
    layers = Layers(nn.ReLU, nn.BatchNorm2d, 0.4)
    assert layers.channels(64) == 26
    assert layers.channels(128, multiple_of=32) == 64  # 51.2
    assert layers.channels(64, multiple_of=32) == 32  # 25.6
    assert layers.channels(8, multiple_of=32) == 32  # 3.2: at least one
