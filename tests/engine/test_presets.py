"""The presets: each can be trained as it stands, and is what it says of itself."""

import pytest

from engine import schedules
from engine.advice import warnings
from engine.config import SETTINGS, RunConfig
from engine.models.summary import count_parameters
from engine.presets import PRESETS
from engine.settings import get_field

every = pytest.mark.parametrize("name", list(PRESETS))


@every
def test_it_is_a_valid_config_that_raises_no_doubts(name):
    config = PRESETS[name].config()
    assert warnings(config, train_images=20_000) == []
    model = config.model
    assert count_parameters(model.arch, 10, model.activation, model.norm, model.width) > 0
    rates = [rate for _, rate in schedules.curve(config.schedule, config.optim, config.epochs)]
    assert max(rates) == pytest.approx(config.optim.lr, rel=0.01)


@every
def test_it_sets_what_it_names_and_nothing_else(name):
    preset, config, default = PRESETS[name], PRESETS[name].config(), RunConfig()
    assert set(preset.values) <= set(SETTINGS)
    for path in SETTINGS:
        assert get_field(config, path) == preset.values.get(path, get_field(default, path))


@every
def test_it_leaves_open_where_it_runs_and_how_chance_falls(name):
    assert not {"device", "seed", "precision", "data.root", "data.url"} & set(PRESETS[name].values)


@every
def test_it_goes_through_json_and_the_command_line(name, command_config):
    config = PRESETS[name].config()
    assert RunConfig.from_json(config.to_json()) == config
    words = config.to_command("a")
    assert command_config(words.split()[2:]) == config


def test_minute_needs_no_download_and_study_is_the_defaults_recipe():
    assert list(PRESETS) == ["minute", "speedrun", "quarter", "study"]
    minute, study = PRESETS["minute"].config(), PRESETS["study"].config()
    assert minute.data.dataset == "shapes"
    assert minute.pretrained is None
    assert minute.epochs <= 10
    assert study.data.dataset == "cifar10"
    assert study.epochs == 250
    assert study.schedule.kind == "cosine_annealing"


@every
def test_title_and_description_are_for_a_person(name):
    preset = PRESETS[name]
    assert preset.title[0].isupper() and "_" not in preset.title
    assert preset.description.endswith(".")
