"""Row 61 of docs/FAULTS.md: a learning rate that nobody chose follows the optimizer."""

import shlex

import pytest

import train
from engine.config import RunConfig, with_fields
from engine.recipe import OPTIMIZERS, usual_lr
from engine.studies.study import Factor, Value
from pages.ui import choices
from pages.ui.studies import own, values
from tests.pages.train.helpers import preset

PAGE = "pages/1_Train.py"


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        ("--optim adam", 1e-3),
        ("--optim adamw", 1e-3),
        ("--optim sgd", 0.1),
        ("--optim adam --lr 0.1", 0.1),
        ("--lr 0.05 --optim adamw", 0.05),
        ("--optim muon", 0.24),
        ("--optim muon --lr 0.1", 0.1),
        ("--preset minute --optim adam", 1e-3),
        ("--preset finetune --optim adam", 1e-3),
        ("--preset finetune --optim sgd", 0.01),
        ("--preset speedrun --optim adamw", 1e-3),
        ("--preset speedrun --optim muon", 0.24),
        ("--preset speedrun --optim adamw --lr 0.1", 0.1),
    ],
)
def test_row_61_the_terminal_gives_an_optimizer_its_usual_rate(command_config, words, rate):
    assert command_config(words.split()).optim.lr == rate


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("lr", [0.1, 1e-3, 0.02])
def test_row_61_a_command_repeats_every_rate(command_config, optimizer, lr):
    config = with_fields(RunConfig(), {"optim.optimizer": optimizer, "optim.lr": lr})
    assert command_config(shlex.split(config.to_command())[2:]) == config


def test_row_61_a_resume_may_name_the_optimizer_of_its_run(monkeypatch, make_run, tiny):
    run = make_run("a", tiny(**{"optim.optimizer": "adam", "optim.lr": 0.01}))
    resumed = []
    monkeypatch.setattr(train, "run_session", lambda run, *_: resumed.append(run.name) or 0)
    words = ["--resume", "--name", "a", "--run-root", str(run.path.parent)]
    assert train.main([*words, "--optim", "adam"]) == 0
    assert resumed == ["a"]
    assert train.main([*words, "--optim", "sgd"]) == 2


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


def test_row_61_the_form_knows_an_entered_rate_from_one_that_nobody_touched(app):
    """Also where it is an optimizer's usual one."""
    at = app(PAGE)
    at.number_input(key="lr").set_value(0.03).run()
    at.number_input(key="lr").set_value(0.1).run()
    at.segmented_control(key="optimizer").set_value("adam").run()
    assert at.number_input(key="lr").value == 0.1


def test_row_61_the_form_follows_after_a_preset_and_forgets_what_it_replaced(app):
    at = app(PAGE)
    at.number_input(key="lr").set_value(0.03).run()
    preset(at).set_value("speedrun").run()
    assert at.number_input(key="lr").value == 0.24
    for optimizer, rate in (("adamw", 1e-3), ("sgd", 0.1), ("muon", 0.24)):
        at.segmented_control(key="optimizer").set_value(optimizer).run()
        assert at.number_input(key="lr").value == rate
    preset(at).set_value("finetune").run()
    for optimizer, rate in (("adam", 1e-3), ("sgd", 0.01)):
        at.segmented_control(key="optimizer").set_value(optimizer).run()
        assert at.number_input(key="lr").value == rate


@pytest.mark.parametrize(("lr", "follows"), [(1e-3, True), (0.1, False)])
def test_row_61_the_rate_of_a_link_stays_unless_it_is_the_usual_one(app, lr, follows):
    linked = with_fields(RunConfig(), {"optim.optimizer": "adam", "optim.lr": lr})
    at = app(PAGE, choices=choices.encode(linked))
    at.segmented_control(key="optimizer").set_value("muon").run()
    assert at.number_input(key="lr").value == (0.24 if follows else lr)


def test_row_61_a_study_of_optimizers_gives_each_its_usual_rate(app):
    base = with_fields(RunConfig(), {"optim.lr": 0.05})
    at = app("pages/3_Studies.py", vary="optim.optimizer", choices=choices.encode(base))
    chosen = at.multiselect(key="vary_values_optim.optimizer")
    chosen.set_value(["sgd", "adam", "muon"]).run()
    assert any("sgd 0.05, adam 0.001, muon 0.24" in caption.value for caption in at.caption)
    at.button(key="own_study").click().run()
    study = at.session_state["draft"]
    rates = [study.config(row, 0).optim.lr for row in study.rows()]
    assert rates == [0.05, 1e-3, 0.24] and study.name == "optimizer"


def test_row_61_a_grid_of_optimizers_and_rates_keeps_its_rates():
    base = RunConfig()
    optimizers = Factor(
        "Optimizer",
        tuple(
            Value(name, values.settings_of("optim.optimizer", name, base))
            for name in ("sgd", "adam")
        ),
    )
    rates = Factor("Learning rate", tuple(Value(f"{lr}", {"optim.lr": lr}) for lr in (0.1, 0.01)))
    study = own.build(base, [optimizers, rates])
    assert [study.config(row, 0).optim.lr for row in study.rows()] == [0.1, 0.01, 0.1, 0.01]
    assert study.name == "optimizer-lr"
