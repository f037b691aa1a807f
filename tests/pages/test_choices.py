"""The Train form: every choice survives the way into the widgets, a link, and back."""

from __future__ import annotations

import json
from unittest import mock
from urllib.parse import parse_qs, urlsplit

import pytest
import streamlit
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from engine.config import PRECISIONS, SETTINGS, RunConfig, with_fields
from engine.data import DATASETS
from engine.errors import ConfigError
from engine.models import ACTIVATIONS, ARCHITECTURES, NORMS
from engine.recipe import OPTIMIZERS, SCHEDULES
from pages.ui import choices

PAGE = "pages/1_Train.py"
NOT_IN_THE_FORM = {
    *("data.root", "data.url", "device"),
    *("model.num_classes", "first_epoch", "data.stratified"),  # filled in by `prepare`
}


def small(high: float, low: float = 0.0) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def configs(draw) -> RunConfig:
    """Any config that can be trained and that the form has the widgets for."""
    arch = ARCHITECTURES[draw(st.sampled_from(list(ARCHITECTURES)))]
    kind = draw(st.sampled_from(SCHEDULES))
    optimizer = draw(st.sampled_from(OPTIMIZERS))
    epochs = draw(st.integers(1, 1_000_000))
    values = {
        "model.arch": next(name for name, a in ARCHITECTURES.items() if a is arch),
        # The form names the architecture's own choice and reads it as left open.
        "model.activation": draw(st.sampled_from([None, *set(ACTIVATIONS) - {arch.activation}])),
        "model.norm": draw(st.sampled_from([None, *set(NORMS) - {arch.norm}])),
        "model.width": draw(small(64, 0.01)),
        "data.dataset": draw(st.sampled_from(list(DATASETS))),
        "data.holdout": draw(st.integers(0, 10_000_000)),
        "data.limit": draw(st.none() | st.integers(1, 10_000_000)),
        "augment.flip_p": draw(small(1, 0.01)),
        "augment.erase_p": draw(small(1, 0.01)),
        "augment.erase_area_max": draw(small(1, 0.33)),
        "augment.mixup_alpha": draw(small(100, 0.001)),
        "augment.cutmix_alpha": draw(small(100, 0.001)),
        "optim.optimizer": optimizer,
        "optim.lr": draw(small(1000, 1e-9)),
        "optim.momentum": draw(small(0.9999, 1e-3)),
        "optim.nesterov": optimizer == "sgd" and draw(st.booleans()),
        "optim.weight_decay": draw(small(10)),
        "optim.label_smoothing": draw(small(0.9999)),
        "schedule.kind": kind,
        "schedule.gamma": draw(small(1, 1e-6)),
        "schedule.warmup": draw(small(min(epochs, 100_000))),
        "epochs": epochs,
        "batch_size": draw(st.integers(1, 1_000_000)),
        "seed": draw(st.integers(0, 2**31 - 1)),
        "precision": draw(st.sampled_from(PRECISIONS)),
        "pretrained": draw(st.none() | st.from_regex(r"[a-z][a-z0-9.-]{0,9}", fullmatch=True)),
    }
    values |= {f"augment.{name}": draw(st.booleans()) for name in choices.AUGMENTATIONS}
    if kind == "multi_step":
        values["schedule.milestones"] = sorted(draw(st.sets(st.integers(1, 1_000), max_size=5)))
    if kind == "cosine_annealing":
        values["schedule.t_max"] = draw(st.none() | st.integers(1, 1_000_000))
    return with_fields(RunConfig(), values)


def through_the_form(config: RunConfig, root: str = "data", **changes) -> RunConfig:
    """What the form reads that was filled with a config and then changed."""
    with mock.patch.object(streamlit, "session_state", {}) as form:
        choices.fill(config)
        form.update(changes)
        return choices.read(root)


@given(configs())
@settings(deadline=None)
def test_what_is_filled_in_is_read_back(config):
    assert through_the_form(config) == config


@given(configs())
@settings(deadline=None)
def test_a_link_carries_every_choice(config):
    link = choices.encode(config)
    assert choices.decode(link) == config
    assert set(json.loads(link)) <= set(SETTINGS) - NOT_IN_THE_FORM


def test_every_setting_but_places_and_device_is_in_the_form():
    assert set(choices.LINKED) == set(SETTINGS) - NOT_IN_THE_FORM


def test_a_link_tells_nothing_of_where_the_data_lie():
    private = {"data.root": "/home/someone/data", "data.url": "http://mirror", "device": "cuda:1"}
    assert choices.encode(with_fields(RunConfig(), private)) == "{}"
    assert through_the_form(RunConfig(), "elsewhere").data.root == "elsewhere"


def test_own_images_are_a_path_that_is_there(tmp_path):
    own = with_fields(RunConfig(), {"data.dataset": str(tmp_path)})
    assert through_the_form(own) == own
    assert through_the_form(own, dataset_path=f"  {tmp_path} ") == own
    for path in ("", "   ", str(tmp_path / "gone"), "x\0y", "x" * 5_000):
        with pytest.raises(ConfigError) as caught:
            through_the_form(own, dataset_path=path)
        assert caught.value.field == "data.dataset"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"kind": "one_cycle", "milestones": "60, 120"}, {"schedule.kind": "one_cycle"}),
        ({"kind": "one_cycle", "t_max": 50}, {"schedule.kind": "one_cycle"}),
        ({"optimizer": "adamw", "nesterov": True}, {"optim.optimizer": "adamw"}),
        (
            {"kind": "multi_step", "milestones": " 60 120,,160 "},
            {"schedule.kind": "multi_step", "schedule.milestones": [60, 120, 160]},
        ),
        ({"pretrained": "  a run "}, {"pretrained": "a run"}),
        ({"limit": None, "t_max": None}, {}),
    ],
)
def test_what_a_choice_switches_off_is_left_out(changes, expected):
    assert through_the_form(RunConfig(), **changes) == with_fields(RunConfig(), expected)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "multi_step", "milestones": "60, x"}, "schedule.milestones"),
        ({"kind": "multi_step", "milestones": "60, 30"}, "schedule.milestones"),
        ({"lr": 0.0}, "optim.lr"),
        ({"width": 0.0}, "model.width"),
        ({"nesterov": True, "momentum": 0.0}, "optim.nesterov"),
        ({"warmup": 1e9}, "schedule.warmup"),
    ],
)
def test_what_cannot_work_names_its_field(changes, field):
    with pytest.raises(ConfigError) as caught:
        through_the_form(RunConfig(), **changes)
    assert caught.value.field == field


BOUNDED = [s for s in choices.PLAIN if s.kind in (int, float)]


@pytest.mark.parametrize("setting", BOUNDED, ids=lambda setting: setting.path)
def test_a_value_out_of_range_is_refused_in_the_words_of_the_terminal(setting, capsys):
    low = setting.low if setting.above else setting.low - 1
    for value in map(setting.kind, (low, setting.high + 1)):
        with pytest.raises(ConfigError) as caught:
            through_the_form(RunConfig(), **{setting.key: value})
        words = choices.explain(caught.value)
        assert train.main([f"{setting.flag}={value}"]) == 2
        line = capsys.readouterr().err.strip().removeprefix(f"train.py: {setting.flag}: ")
        assert words == f"{setting.label}: {line}."


def test_the_page_says_what_is_out_of_range_and_does_not_start(app):
    at = app(PAGE)
    at.number_input(key="epochs").set_value(0).run()
    assert not at.exception
    assert "0 is out of range; use 1 to 1000000." in at.error[0].value
    assert at.button(key="start").disabled


@pytest.mark.parametrize(
    "link",
    [
        "",
        "{",
        "null",
        "[]",
        '"x"',
        "[" * 5_000,
        '{"data.root":"/etc"}',
        '{"device":"cuda"}',
        '{"model.num_classes":3}',
        '{"__class__":1}',
        '{"optim.lr":NaN}',
        '{"optim.lr":"0.1"}',
        '{"epochs":1e400}',
        '{"schedule.milestones":{"a":1}}',
        '{"epochs":5}' + " " * 20_000 + "x" * 5,
    ],
)
def test_a_damaged_link_is_a_config_error_or_is_cut_where_it_is_whole(link):
    try:
        config = choices.decode(link)
    except ConfigError as error:
        assert error.field
    else:
        assert config == with_fields(RunConfig(), {"epochs": 5})


# The command line takes these as well, and "Use these settings in Train" brings them here.
@pytest.mark.parametrize(
    "changes",
    [
        {"model.arch": "vgg11", "model.width": 3.0},
        {"model.width": 0.01},
        {"optim.momentum": 0.9995, "optim.label_smoothing": 0.95},
        {"augment.mixup": True, "augment.mixup_alpha": 5.0},
        {"augment.cutmix": True, "augment.cutmix_alpha": 0.01},
        {"schedule.kind": "multi_step", "schedule.gamma": 0.001, "schedule.milestones": [5]},
    ],
)
def test_the_widgets_take_every_value_that_a_config_may_have(app, changes):
    at = app(PAGE, choices=json.dumps(changes))
    assert not at.exception
    link = next(block.value for block in at.code if "choices=" in block.value)
    shown = choices.decode(parse_qs(urlsplit(link).query)["choices"][0])
    assert shown == with_fields(RunConfig(), changes)
