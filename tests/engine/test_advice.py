"""Warnings about configs that can be trained, but probably are not what was meant."""

import pytest

from engine.advice import unused, warnings
from engine.config import RunConfig, with_fields


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"schedule.kind": "multi_step", "schedule.milestones": (50, 100)}, ["milestone 100"]),
        ({"schedule.kind": "multi_step", "schedule.milestones": ()}, ["stays constant"]),
        ({"schedule.t_max": 50}, ["rises again after"]),
        ({"schedule.t_max": 200}, ["reaches 0 only at epoch 200"]),
        ({"optim.optimizer": "adam"}, ["high for adam; 0.001 is usual"]),
        ({"optim.lr": 1000.0}, ["learning rate 1000 is high for sgd; 0.1 is usual"]),
        ({"optim.optimizer": "muon", "optim.lr": 3.0}, ["high for muon"]),
        ({"schedule.t_max": 100}, []),
        ({"schedule.kind": "multi_step", "schedule.milestones": (50, 99)}, []),
        ({"optim.optimizer": "adamw", "optim.lr": 0.001}, []),
        ({"optim.lr": 1.0}, []),
    ],
)
def test_warnings_name_what_is_probably_not_meant(values, expected):
    found = warnings(with_fields(RunConfig(), values))
    assert len(found) == len(expected)
    assert all(part in line for part, line in zip(expected, found, strict=True))


def test_the_default_recipe_has_no_warnings():
    assert warnings(RunConfig()) == []


@pytest.mark.parametrize("arch", ["resnet18", "vgg11", "densenet121", "convmixer256d8"])
def test_group_norm_of_single_channels_is_warned_of(arch):
    narrow = with_fields(RunConfig(), {"model.arch": arch, "model.norm": "group"})
    assert warnings(narrow) == []
    found = warnings(with_fields(narrow, {"model.width": 0.125}))
    assert any("which is instance norm" in line for line in found)


@pytest.mark.parametrize(
    ("values", "given", "expected"),
    [
        (
            {"augment.mixup_alpha": 0.3},
            ["augment.mixup_alpha"],
            "--mixup-alpha has no effect without --mixup-aug",
        ),
        (
            {"augment.crop": False},
            ["augment.crop_padding"],
            "--crop-padding has no effect with --no-crop",
        ),
        (
            {"optim.optimizer": "adam"},
            ["optim.momentum"],
            "--momentum has no effect with --optim adam",
        ),
        ({}, ["schedule.gamma"], "--sche-gamma has no effect with --sche cosine_annealing"),
    ],
)
def test_flags_without_effect_are_named(values, given, expected):
    assert unused(with_fields(RunConfig(), values), given) == [expected]
    assert unused(RunConfig(), ["epochs", "optim.momentum"]) == []
