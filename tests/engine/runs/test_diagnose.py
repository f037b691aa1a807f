"""What is said of a run's curves, and of which nothing is said."""

import dataclasses

import pytest

from engine.advice import FEW_STEPS
from engine.runs.diagnose import CHANCE_MARGIN, OVERFIT_EPOCHS, diagnose
from engine.runs.run import State, Status

RUNNING = Status(state=State.RUNNING)


def epochs(val_acc=None, val_loss=None, train_loss=None) -> list[dict]:
    """Epoch records; what is not given goes well."""
    count = len(val_acc or val_loss or train_loss)
    better = [2.0 - 0.1 * i for i in range(count)]
    accuracies = val_acc or [0.3 + 0.05 * i for i in range(count)]
    rows = zip(accuracies, val_loss or better, train_loss or better, strict=True)
    return [
        {"kind": "epoch", "epoch": i, "val_acc": a, "val_loss": v, "train_loss": t}
        for i, (a, v, t) in enumerate(rows, start=1)
    ]


@pytest.mark.parametrize("state", list(State))
def test_of_a_good_run_nothing_is_said(state):
    assert diagnose(Status(state=state), epochs(val_acc=[0.3, 0.5, 0.6, 0.7, 0.72]), 10) == []


def test_before_the_first_epoch_nothing_is_said():
    assert diagnose(RUNNING, [], 10) == []


def test_a_network_is_not_called_at_chance_while_its_learning_rate_rises():
    poor = epochs(val_acc=[0.1, 0.1, 0.1])
    assert diagnose(RUNNING, poor, 10, warmup=3.0) == []
    assert "at chance" in diagnose(RUNNING, poor, 10, warmup=2.5)[0]


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_accuracy_near_guessing_is_called_chance(classes):
    edge = CHANCE_MARGIN / classes
    found = diagnose(RUNNING, epochs(val_acc=[edge * 0.5, edge * 0.99]), classes)
    assert len(found) == 1
    assert f"still at chance level ({100 / classes:.0f} %) after 2 epochs" in found[0]
    assert diagnose(RUNNING, epochs(val_acc=[edge * 1.01]), classes) == []


def test_one_epoch_is_one_epoch():
    assert "after 1 epoch." in diagnose(RUNNING, epochs(val_acc=[0.1]), 10)[0]


def test_a_run_that_once_was_better_than_chance_is_not_called_at_chance():
    assert diagnose(RUNNING, epochs(val_acc=[0.1, 0.5, 0.1]), 10) == []


OVERFITTING = [1.0, 1.1, 1.2, 1.3]


def test_rising_validation_with_falling_training_loss_is_overfitting():
    found = diagnose(RUNNING, epochs(val_loss=OVERFITTING), 10)
    assert len(found) == 1
    assert "overfits" in found[0]
    assert f"for {OVERFIT_EPOCHS} epochs" in found[0]
    long = epochs(val_loss=[2.0, 1.5, 1.2, *OVERFITTING])
    assert "overfits" in diagnose(RUNNING, long, 10)[0]


@pytest.mark.parametrize(
    "losses",
    [
        {"val_loss": OVERFITTING[:3]},  # too early to tell
        {"val_loss": [1.0, 1.1, 1.2, 1.2]},
        {"val_loss": [1.0, 1.1, 1.0, 1.1]},
        {"val_loss": [1.0, 1.1, 1.2, 1.3, 0.9]},  # it was, and is no longer
        {"val_loss": OVERFITTING, "train_loss": [1.0, 1.1, 1.2, 1.3]},  # both rise: not overfitting
        {"val_loss": OVERFITTING, "train_loss": [1.0, 0.9, 0.9, 0.8]},
    ],
)
def test_anything_else_is_not(losses):
    assert diagnose(RUNNING, epochs(**losses), 10) == []


def test_a_short_run_at_chance_needs_more_epochs():
    short = dataclasses.replace(RUNNING, steps=16)
    assert "more epochs (16 steps are few)" in diagnose(short, epochs(val_acc=[0.1] * 2), 10)[0]
    long = dataclasses.replace(RUNNING, steps=FEW_STEPS)
    assert "a lower learning rate" in diagnose(long, epochs(val_acc=[0.1] * 2), 10)[0]


def test_several_things_are_said_in_order():
    status = Status(state=State.DAMAGED, message="full disk")
    found = diagnose(status, epochs(val_acc=[0.1] * 4, val_loss=OVERFITTING), 10)
    assert [text.split()[0] for text in found] == ["full", "Accuracy", "The"]
