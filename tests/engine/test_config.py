"""RunConfig: what it refuses, and that JSON and the command line both carry all of it."""

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import (
    MAX_JSON_BYTES,
    PRECISIONS,
    SETTINGS,
    RunConfig,
    with_fields,
)
from engine.errors import ConfigError
from engine.inputs import FITS
from engine.models import ACTIVATIONS, ARCHITECTURES, NORMS
from engine.recipe import OPTIMIZERS, SCHEDULES
from engine.settings import get_field

words = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    str.strip
)


def numbers(low, high, above=False):
    return st.floats(low, high, exclude_min=above, allow_nan=False)


# Every field of a run, with values that are valid whatever the others are.
FIELDS = {
    "model.arch": st.sampled_from(list(ARCHITECTURES)),
    "model.activation": st.none() | st.sampled_from(list(ACTIVATIONS)),
    "model.norm": st.none() | st.sampled_from(list(NORMS)),
    "model.width": numbers(0, 64, above=True),
    "model.whitening": st.booleans(),
    "model.num_classes": st.none() | st.integers(2, 100_000),
    "data.dataset": words,
    "data.root": words,
    "data.url": st.none() | words.map("http://".__add__) | words.map("https://".__add__),
    "data.fit": st.sampled_from(list(FITS)),
    "data.holdout": st.integers(0, 10_000_000),
    "data.limit": st.none() | st.integers(1, 10_000_000),
    "augment.crop": st.booleans(),
    "augment.crop_padding": st.integers(1, 16),
    "augment.crop_reflect": st.booleans(),
    "augment.flip": st.booleans(),
    "augment.flip_p": numbers(0, 1),
    "augment.alternating_flip": st.just(False),
    "augment.erasing": st.booleans(),
    "augment.erase_p": numbers(0, 1),
    "augment.erase_area_min": numbers(0, 0.3),
    "augment.erase_area_max": numbers(0.4, 1),
    "augment.erase_ratio_min": numbers(0.01, 1),
    "augment.erase_ratio_max": numbers(1.5, 100),
    "augment.mixup": st.booleans(),
    "augment.mixup_alpha": numbers(0, 100, above=True),
    "augment.cutmix": st.booleans(),
    "augment.cutmix_alpha": numbers(0, 100, above=True),
    "optim.optimizer": st.sampled_from(OPTIMIZERS),
    "optim.lr": numbers(0, 1000, above=True),
    "optim.momentum": numbers(0, 0.9999),
    "optim.nesterov": st.just(False),
    "optim.weight_decay": numbers(0, 10),
    "optim.label_smoothing": numbers(0, 0.9999),
    "optim.head_lr": numbers(0, 10_000),
    "optim.bias_lr": numbers(0, 10_000),
    "optim.ema": numbers(0, 0.99999),
    "schedule.kind": st.just("constant"),
    "schedule.milestones": st.just(()),
    "schedule.gamma": numbers(0, 1, above=True),
    "schedule.t_max": st.none(),
    "schedule.warmup": numbers(0, 1),
    "epochs": st.integers(1, 1_000_000),
    "batch_size": st.integers(1, 1_000_000),
    "seed": st.integers(0, 2**31 - 1),
    "precision": st.sampled_from(PRECISIONS),
    "device": words,
    "pretrained": st.none() | words,
    "data.stratified": st.booleans(),
    "first_epoch": st.integers(0, 2**31 - 1),
    "progressive": st.booleans(),
    "compile": st.booleans(),
    "tta": st.booleans(),
}
EPOCHS = st.integers(1, 1_000_000)
MILESTONES = st.lists(EPOCHS, unique=True, max_size=5).map(lambda epochs: tuple(sorted(epochs)))
# Fields that must fit each other are drawn together.
TOGETHER = st.one_of(
    st.just({}),
    st.fixed_dictionaries(
        {
            "optim.optimizer": st.just("sgd"),
            "optim.nesterov": st.just(True),
            "optim.momentum": numbers(0, 0.9999, above=True),
        }
    ),
    st.just({"augment.flip": True, "augment.alternating_flip": True}),
)
SCHEDULE = st.one_of(
    st.fixed_dictionaries({"schedule.kind": st.sampled_from(SCHEDULES)}),
    st.fixed_dictionaries(
        {"schedule.kind": st.just("multi_step"), "schedule.milestones": MILESTONES}
    ),
    st.fixed_dictionaries({"schedule.kind": st.just("cosine_annealing"), "schedule.t_max": EPOCHS}),
)
CONFIGS = st.builds(
    lambda *parts: with_fields(RunConfig(), {k: v for part in parts for k, v in part.items()}),
    st.fixed_dictionaries(FIELDS),
    TOGETHER,
    SCHEDULE,
)
GROUPS = {path.partition(".")[0] for path in SETTINGS if "." in path}
NUMERIC = [path for path, declared in SETTINGS.items() if declared.kind in (int, float)]


def test_these_tests_draw_every_field():
    assert set(FIELDS) == set(SETTINGS)


@given(CONFIGS)
def test_json_round_trip_keeps_every_field(config):
    again = RunConfig.from_json(config.to_json())
    assert again == config
    assert {p: type(get_field(again, p)) for p in SETTINGS} == {
        p: type(get_field(config, p)) for p in SETTINGS
    }


@given(CONFIGS, st.none() | st.just("a-run"))
def test_the_command_is_parsed_to_the_same_config(command_config, config, name):
    python, script, *words = shlex.split(config.to_command(name))
    assert (python, script) == ("python", "train.py")
    assert words[:2] == ["--name", name] if name else "--name" not in words
    assert command_config(words) == with_fields(
        config, {"model.num_classes": None, "first_epoch": 0, "data.stratified": False}
    )


@pytest.mark.parametrize("path", ["data.dataset", "data.root", "device", "pretrained"])
def test_a_value_that_looks_like_a_flag_survives_the_command(command_config, path):
    config = with_fields(RunConfig(), {path: "--tta"})
    assert command_config(shlex.split(config.to_command())[2:]) == config


def test_the_command_of_the_defaults_has_no_flags():
    assert RunConfig().to_command() == "python train.py"


def test_json_may_leave_out_what_is_at_its_default_and_write_whole_numbers_for_floats():
    config = RunConfig.from_json('{"optim": {"lr": 1}, "schedule": {"warmup": 2}}')
    assert config == with_fields(RunConfig(), {"optim.lr": 1.0, "schedule.warmup": 2.0})
    assert isinstance(config.optim.lr, float)


NEVER_NUMBERS = [float("nan"), float("inf"), float("-inf"), -1, 10**400, "1", True, [], {}]


@pytest.mark.parametrize("value", NEVER_NUMBERS, ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize("path", NUMERIC)
def test_a_numeric_field_refuses_what_is_no_number_in_its_range(path, value):
    with pytest.raises(ConfigError) as refusal:
        with_fields(RunConfig(), {path: value})
    assert refusal.value.field == path
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


BAD = [
    ("model.arch", "resnet19"),
    ("model.arch", None),
    ("model.activation", "swoosh"),
    ("model.norm", "bach"),
    ("model.width", 0),
    ("model.num_classes", 1),
    ("data.dataset", " "),
    ("data.dataset", "a\0b"),
    ("data.root", ""),
    ("data.url", "ftp://example.org/x"),
    ("augment.crop", 1),
    ("augment.mixup_alpha", 0),
    ("augment.flip_p", 1.5),
    ("augment.erase_p", -0.1),
    ("augment.erase_area_max", 0.01),
    ("augment.erase_ratio_max", 0.1),
    ("augment.erase_ratio_min", 0),
    ("optim.optimizer", "lion"),
    ("optim.lr", 0),
    ("optim.label_smoothing", 1.0),
    ("optim.nesterov", "yes"),
    ("schedule.kind", "cosine"),
    ("schedule.milestones", (40, 20)),
    ("schedule.milestones", (20, 20)),
    ("schedule.milestones", (0,)),
    ("schedule.milestones", 20),
    ("schedule.gamma", 0),
    ("schedule.gamma", 1.5),
    ("schedule.t_max", 0),
    ("schedule.warmup", 101),
    ("epochs", 0),
    ("epochs", 1.0),
    ("batch_size", 0),
    ("seed", 2**31),
    ("precision", "fp8"),
    ("device", ""),
    ("pretrained", ""),
]


@pytest.mark.parametrize(("path", "value"), BAD, ids=str)
def test_a_value_that_cannot_work_is_refused_by_its_fields_name(path, value):
    kind = "multi_step" if path == "schedule.milestones" else RunConfig().schedule.kind
    with pytest.raises(ConfigError) as refusal:
        with_fields(RunConfig(), {"schedule.kind": kind, path: value})
    assert refusal.value.field == path


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"schedule.milestones": (20,)}, "schedule.milestones"),
        ({"schedule.kind": "constant", "schedule.t_max": 5}, "schedule.t_max"),
        ({"optim.optimizer": "adam", "optim.nesterov": True}, "optim.nesterov"),
        ({"optim.momentum": 0.0, "optim.nesterov": True}, "optim.nesterov"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(values, field):
    with pytest.raises(ConfigError) as refusal:
        with_fields(RunConfig(), values)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('{"epoch": 3}', "epoch"),
        ('{"optim": {"learning_rate": 3}}', "optim.learning_rate"),
        ('{"model": "resnet18"}', "model"),
        ('{"model": null}', "model"),
        ('{"optim": {"lr": NaN}}', "optim.lr"),
        ('{"optim": {"lr": 1e999}}', "optim.lr"),
        ('{"optim": {"lr": 1' + "0" * 400 + "}}", "optim.lr"),
        ('{"epochs": 1' + "0" * 5000 + "}", "config"),
        ("[]", "config"),
        ("", "config"),
        ("[" * 100_000, "config"),
        ('{"model":' * 20_000, "config"),
        (json.dumps({"pretrained": "x" * MAX_JSON_BYTES}), "config"),
    ],
    ids=lambda value: value[:24],
)
def test_json_that_is_no_config_is_refused_by_name(text, field):
    with pytest.raises(ConfigError) as refusal:
        RunConfig.from_json(text)
    assert refusal.value.field == field


KEYS = st.sampled_from([*GROUPS, *{p.split(".")[-1] for p in SETTINGS}]) | st.text(max_size=5)
ATOMS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
TREES = st.recursive(ATOMS, lambda t: st.lists(t, max_size=3) | st.dictionaries(KEYS, t))


@given(st.dictionaries(KEYS, TREES, max_size=4).map(json.dumps) | st.text())
def test_any_json_or_text_is_a_config_or_a_config_error(text):
    try:
        config = RunConfig.from_json(text)
    except ConfigError as error:
        assert str(error).startswith(error.field)
    else:
        assert RunConfig.from_json(config.to_json()) == config
