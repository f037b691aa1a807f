"""What two runs differ in, and which runs are seeds of one another."""

import pytest

from engine.config import SETTINGS, RunConfig, with_fields
from engine.models import ARCHITECTURES
from engine.runs.compare import differing, distinguish, seed_groups


def config(**changes) -> RunConfig:
    return with_fields(RunConfig(), {path.replace("__", "."): v for path, v in changes.items()})


# Another value than the default for every factor, with what it needs to be valid and to count.
OTHER = {
    "model.arch": {"model.arch": "vgg11"},
    "model.activation": {"model.activation": "mish"},
    "model.norm": {"model.norm": "group"},
    "model.width": {"model.width": 0.5},
    "model.whitening": {"model.whitening": True},
    "data.dataset": {"data.dataset": "shapes"},
    "data.holdout": {"data.holdout": 500},
    "data.limit": {"data.limit": 500},
    "data.fit": {"data.fit": "pad"},
    "batch_size": {"batch_size": 64},
    "epochs": {"epochs": 7},
    "optim.lr": {"optim.lr": 0.3},
    "optim.optimizer": {"optim.optimizer": "adam"},
    "optim.momentum": {"optim.momentum": 0.5},
    "optim.nesterov": {"optim.nesterov": True},
    "optim.weight_decay": {"optim.weight_decay": 0.1},
    "optim.label_smoothing": {"optim.label_smoothing": 0.1},
    "optim.head_lr": {"optim.head_lr": 3.0},
    "optim.bias_lr": {"optim.bias_lr": 64.0},
    "optim.ema": {"optim.ema": 0.99},
    "schedule.kind": {"schedule.kind": "constant"},
    "schedule.milestones": {"schedule.milestones": [3]},
    "schedule.gamma": {"schedule.gamma": 0.5},
    "schedule.t_max": {"schedule.t_max": 9},
    "schedule.warmup": {"schedule.warmup": 2.0},
    "augment.crop": {"augment.crop": False},
    "augment.crop_padding": {"augment.crop_padding": 2},
    "augment.crop_reflect": {"augment.crop_reflect": True},
    "augment.flip": {"augment.flip": False},
    "augment.flip_p": {"augment.flip_p": 0.3},
    "augment.alternating_flip": {"augment.alternating_flip": True},
    "augment.erasing": {"augment.erasing": True},
    "augment.erase_p": {"augment.erase_p": 0.9},
    "augment.erase_area_min": {"augment.erase_area_min": 0.1},
    "augment.erase_area_max": {"augment.erase_area_max": 0.5},
    "augment.erase_ratio_min": {"augment.erase_ratio_min": 1.0},
    "augment.erase_ratio_max": {"augment.erase_ratio_max": 1.0},
    "augment.mixup": {"augment.mixup": True},
    "augment.mixup_alpha": {"augment.mixup_alpha": 0.9},
    "augment.cutmix": {"augment.cutmix": True},
    "augment.cutmix_alpha": {"augment.cutmix_alpha": 0.3},
    "precision": {"precision": "bf16"},
    "pretrained": {"pretrained": "a-run"},
    "progressive": {"progressive": True},
    "tta": {"tta": True},
}
NEEDED = {
    **{path: {"augment.erasing": True} for path in OTHER if "augment.erase_" in path},
    "schedule.milestones": {"schedule.kind": "multi_step"},
    "schedule.gamma": {"schedule.kind": "multi_step"},
    "augment.mixup_alpha": {"augment.mixup": True},
    "augment.cutmix_alpha": {"augment.cutmix": True},
}


def test_every_setting_counts_but_places_and_the_seed():
    others = {"data.root", "data.url", "device", "compile", "seed"}
    filled_in = {"model.num_classes", "first_epoch", "data.stratified"}
    assert set(SETTINGS) - set(OTHER) == others | filled_in


@pytest.mark.parametrize("path", list(OTHER))
def test_one_changed_factor_is_the_one_that_is_named(path):
    base = with_fields(RunConfig(), NEEDED.get(path, {}))
    changed = with_fields(base, OTHER[path])
    assert differing([base, changed]) == [path]
    assert seed_groups({"a": base, "b": changed}) == [["a"], ["b"]]


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 5},
        {"device": "cuda:1"},
        {"data.root": "/elsewhere"},
        {"data.url": "http://mirror/x"},
        {"model.num_classes": 10},
        {"model.activation": ARCHITECTURES["resnet18"].activation},
        {"model.norm": ARCHITECTURES["resnet18"].norm},
        {"augment.mixup_alpha": 0.9},  # of a mixup that is off
        {"augment.cutmix_alpha": 0.3},
        {"schedule.gamma": 0.5},  # of a schedule without steps
    ],
    ids=str,
)
def test_what_does_not_change_the_experiment_is_no_difference(changes):
    other = with_fields(RunConfig(), changes)
    assert differing([RunConfig(), other]) == []
    assert seed_groups({"a": RunConfig(seed=1), "b": other}) == [["a", "b"]]


def test_sgd_s_momentum_counts_for_sgd_only():
    adams = [config(optim__optimizer="adam", optim__momentum=m) for m in (0.5, 0.9)]
    assert differing(adams) == []
    assert differing([adams[0], RunConfig()]) == ["optim.optimizer"]


def test_two_architectures_with_their_own_layers_differ_in_one_thing():
    configs = [config(model__arch=arch) for arch in ("resnet18", "convmixer256d8")]
    assert differing(configs) == ["model.arch"]


def test_several_differences_come_in_the_order_of_declaration():
    found = differing([RunConfig(), config(epochs=3, model__width=0.5, augment__flip=False)])
    assert found == ["model.width", "augment.flip", "epochs"]
    assert found == [path for path in SETTINGS if path in found]


def test_of_many_runs_one_that_differs_is_enough():
    assert differing([RunConfig(seed=i) for i in range(9)] + [config(epochs=3)]) == ["epochs"]
    assert differing([RunConfig()]) == differing([]) == []


def test_seeds_are_grouped_in_the_order_given():
    runs = {
        "b1": config(model__arch="vgg11", seed=1),
        "a2": config(seed=2),
        "b2": config(model__arch="vgg11", seed=2),
        "a1": config(seed=1),
        "lone": config(epochs=3),
        "a2-again": config(seed=2),
    }
    assert seed_groups(runs) == [["b1", "b2"], ["a2", "a1"], ["lone"], ["a2-again"]]
    assert seed_groups({}) == []


GROUP = {"model__norm": "group"}


@pytest.mark.parametrize(
    ("changes", "labels"),
    [
        ([{}, {"model__activation": "mish"}], ["relu", "mish"]),
        ([{}, {"optim__lr": 1e-5}], ["learning rate 0.1", "learning rate 1e-5"]),
        ([{}, {"augment__mixup": True}], ["no mixup", "mixup"]),
        ([{"epochs": 5}, {"epochs": 9}], ["5 epochs", "9 epochs"]),
        ([{}, {"pretrained": "runs/a"}], ["from scratch", "from a"]),
        ([{}, {"seed": 1}], ["r0", "r1"]),  # nothing differs but the seed
        (
            [
                {"model__arch": "vgg11"},
                {"model__norm": "group"},
                {"seed": 3, "model__norm": "group"},
            ],
            ["vgg11 · batch", "resnet18 · group · seed 0", "resnet18 · group · seed 3"],
        ),
        (
            [{"data__dataset": "/x/pets"}, {"data__dataset": "/y/pets"}],
            ["pets · seed 0 · r0", "pets · seed 0 · r1"],
        ),
    ],
)
def test_a_label_says_in_what_a_run_differs_and_no_two_are_alike(changes, labels):
    configs = {f"r{i}": config(**each) for i, each in enumerate(changes)}
    assert list(distinguish(configs).values()) == labels


def test_runs_that_differ_in_much_are_called_by_their_names():
    other = config(model__arch="vgg11", epochs=3, batch_size=64, optim__lr=0.3)
    assert distinguish({"a": config(), "b": other}) == {"a": "a", "b": "b"}
