"""Each row of the registry is swapped in where it applies, and left out where that is asked for."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from engine import fast
from engine.device import Compute
from engine.fast import NAMES, accelerate, without
from engine.fast.conv.layers import FastConv
from engine.fast.registry import REPLACEMENTS, Target, target_of
from engine.models.densenet import DenseBlock, DenseLayer
from engine.models.layers import IdentityConv, InstanceNorm2d, Layers
from engine.models.resnet import Block

ENGINE = Path(fast.__file__).parents[1]
CPUS = {
    Target.AMX: {"amx": True, "avx512_bf16": True},
    Target.AVX512_BF16: {"avx512_bf16": True},
    Target.FP32: {},
}


def compute_of(target):
    return Compute(torch.device("cpu"), "fp32" if target is Target.FP32 else "bf16")


def every_layer():
    """A module of each class that any row replaces."""
    parts = Layers(nn.ReLU, nn.BatchNorm2d, width=1)
    body = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
    blocks = [Block(parts, body, 4, 4, 1), DenseBlock(DenseLayer(parts, 4, 4))]
    layers = [nn.ELU(), nn.CELU(), nn.ReLU(), nn.LeakyReLU(), nn.MaxPool2d(2), nn.Sequential()]
    norms = [nn.GroupNorm(2, 4), InstanceNorm2d(4)]
    return nn.ModuleList([nn.Conv2d(3, 4, 3), IdentityConv(4, 4), *layers, *norms, *blocks])


def uses(model, row):
    """Whether any module of the model is that row's."""
    modules = list(model.modules())
    if row.algorithm is not None:
        return any(row.algorithm in m.algorithms for m in modules if isinstance(m, FastConv))
    return any(type(module) in row.layers.values() for module in modules)


@pytest.mark.parametrize("target", Target, ids=lambda target: target.name)
@pytest.mark.parametrize("row", REPLACEMENTS, ids=lambda row: row.name)
def test_a_row_is_used_for_its_targets_unless_left_out(row, target, cpu):
    if row.fusion:
        pytest.importorskip("numba", reason="numba is installed on x86 only")
    cpu(**CPUS[target])
    compute = compute_of(target)
    assert uses(accelerate(every_layer(), compute, training=True), row) == (target in row.targets)
    with without(row.name):
        model = accelerate(every_layer(), compute, training=True)
    assert not uses(model, row)
    others = [r for r in REPLACEMENTS if target in r.targets and r is not row]
    assert all(uses(model, other) for other in others)
    if target in row.targets:
        assert uses(accelerate(model, compute, training=True), row)  # again, with all of them


@pytest.mark.parametrize("choices", [{"training": False}, {"training": True, "compiled": True}])
def test_fusions_are_for_training_without_torch_compile(choices, cpu):
    cpu(**CPUS[Target.AMX])
    model = accelerate(every_layer(), compute_of(Target.AMX), **choices)
    assert {row.fusion for row in REPLACEMENTS if uses(model, row)} == {False}


@pytest.mark.parametrize("target", Target, ids=lambda target: target.name)
def test_what_each_computer_is(target, cpu):
    cpu(**CPUS[target])
    assert target_of(compute_of(target)) is target
    cpu(kernels=False)
    assert target_of(compute_of(target)) is None


@pytest.mark.parametrize(
    ("device", "precision"), [("cpu", "fp16"), ("cuda", "bf16"), ("mps", "fp32")]
)
def test_elsewhere_nothing_applies(device, precision, cpu):
    cpu(amx=True, avx512_bf16=True)
    assert target_of(Compute(torch.device(device), precision)) is None


def test_no_two_rows_swap_the_same_class_for_one_target():
    for target in Target:
        swapped = [old for row in REPLACEMENTS if target in row.targets for old in row.layers]
        assert len(swapped) == len(set(swapped))
    assert len(NAMES) == len(set(NAMES))


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"turbo.*winograd"), without("winograd", "turbo"):
        pass


def test_the_readme_has_the_table_of_the_registry():
    readme = (ENGINE / "fast" / "README.md").read_text("utf-8")
    assert re.findall(r"(?:^\|.*\n)+", readme, re.MULTILINE)[0] == fast.table() + "\n"


def test_one_place_swaps_classes():
    found = [p for p in ENGINE.rglob("*.py") if "__class__ =" in p.read_text("utf-8")]
    assert [path.name for path in found] == ["registry.py"]
