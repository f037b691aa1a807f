"""The presets: each can be trained as it stands, and is what it says of itself."""

from pathlib import Path

import pytest

from engine import schedules
from engine.advice import warnings
from engine.config import SETTINGS, RunConfig, with_fields
from engine.models.summary import count_parameters
from engine.presets import FINE_TUNE, PRESETS, nearest
from engine.settings import get_field
from engine.training import initial

every = pytest.mark.parametrize("name", list(PRESETS))


@every
def test_it_is_a_valid_config_that_raises_no_doubts(name):
    config = PRESETS[name].config()
    assert warnings(config, train_images=64 if name == FINE_TUNE else 20_000) == []
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
    assert list(PRESETS) == ["minute", "speedrun", "quarter", "finetune", "study"]
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


def test_fine_tuning_has_the_shipped_network_and_keeps_data_and_weights_of_a_config():
    preset = PRESETS[FINE_TUNE]
    config = preset.config()
    assert initial.follow(config, Path("no runs")) == config
    assert initial.check(config, Path("no runs"), ("cat", "dog"))[0].endswith("by a new one")
    mine = with_fields(
        RunConfig(), {"data.fit": "pad", "pretrained": "a", "model.arch": "vgg11", "epochs": 3}
    )
    over = preset.over(mine)
    assert (over.data, over.model, over.pretrained) == (mine.data, mine.model, "a")
    assert over.epochs == config.epochs
    assert nearest(over) == FINE_TUNE and nearest(RunConfig()) != FINE_TUNE
    assert preset.over(RunConfig()).model == config.model
