"""Row 61 of docs/FAULTS.md: a learning rate that nobody chose follows the optimizer."""

import shlex

import pytest

import train
from engine.config import RunConfig, with_fields
from engine.presets import PRESETS
from engine.recipe import OPTIMIZERS, usual_lr

PAGE = "pages/1_Train.py"


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        ("--optim adam", 1e-3),
        ("--optim adamw", 1e-3),
        ("--optim sgd", 0.1),
        ("--optim adam --lr 0.1", 0.1),
        ("--lr 0.05 --optim adamw", 0.05),
    ],
)
def test_row_61_the_terminal_gives_an_optimizer_its_usual_rate(command_config, words, rate):
    assert command_config(words.split()).optim.lr == rate


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("lr", [0.1, 1e-3, 0.02])
def test_row_61_a_command_repeats_every_rate(command_config, optimizer, lr):
    config = with_fields(RunConfig(), {"optim.optimizer": optimizer, "optim.lr": lr})
    assert command_config(shlex.split(config.to_command())[2:]) == config


def test_row_61_a_rate_that_a_preset_chose_stays(monkeypatch):
    chosen = []
    monkeypatch.setattr(train, "train", lambda args, config, *_: chosen.append(config) or 0)
    assert train.main(["--preset", "speedrun", "--optim", "adamw"]) == 0
    assert chosen[0].optim.lr == 0.24 and chosen[0].optim.optimizer == "adamw"
    assert PRESETS["speedrun"].config().optim.lr == 0.24


def test_row_61_the_form_follows_unless_a_rate_was_chosen(app):
    at = app(PAGE)
    assert at.number_input(key="lr").value == 0.1
    at.segmented_control(key="optimizer").set_value("adam").run()
    assert at.number_input(key="lr").value == usual_lr("adam")
    at.segmented_control(key="optimizer").set_value("sgd").run()
    assert at.number_input(key="lr").value == 0.1
    at.number_input(key="lr").set_value(0.03).run()
    at.segmented_control(key="optimizer").set_value("adam").run()
    assert at.number_input(key="lr").value == 0.03
