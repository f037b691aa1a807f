"""Row 21 of docs/FAULTS.md: the loss becomes NaN at step k."""

import math

import pytest
import torch

from engine.runs.checkpoint import CheckpointStore, load_weights
from engine.runs.run import State
from engine.training import loop
from engine.training import step as training_step
from engine.training.records import StepRecord
from engine.training.step import mixed_cross_entropy

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")


@pytest.fixture
def spoil_loss(monkeypatch):
    """spoil_loss(4, nan) multiplies the training loss of the fourth step from now on by NaN."""

    def spoil(step: int, factor: float):
        calls = []

        def spoiled(*args, **options):
            calls.append(None)
            loss = mixed_cross_entropy(*args, **options)
            return loss * factor if len(calls) == step else loss

        monkeypatch.setattr(training_step, "mixed_cross_entropy", spoiled)

    return spoil


def all_finite(weights) -> bool:
    return all(torch.isfinite(t).all() for t in weights.values() if t.is_floating_point())


@pytest.mark.parametrize("factor", [math.nan, math.inf])
@pytest.mark.parametrize(("step", "epoch", "kept"), [(2, 1, 0), (4, 2, 3), (6, 2, 3)])
def test_row_21_the_run_fails_at_the_step_and_keeps_its_good_checkpoint(
    make_run, train_run, spoil_loss, factor, step, epoch, kept
):
    run = make_run()
    spoil_loss(step, factor)
    assert train_run(run) is State.FAILED
    status = run.status()
    assert status.state is State.FAILED
    assert status.message.startswith(f"diverged at step {step} (epoch {epoch}): the loss is")
    assert "try a lower learning rate" in status.message and status.lasting
    assert "TrainingFailed: diverged at step" in run.log()
    checkpoint = CheckpointStore(run.path, {}).load_newest()
    assert checkpoint.step == kept
    assert all_finite(checkpoint.weights)
    assert all(math.isfinite(record["loss"]) for record in run.records()[0] if "loss" in record)
    assert status.best_epoch == (1 if kept else None)
    assert (run.path / "best.safetensors").exists() == bool(kept)


def test_row_21_the_failed_run_goes_on_from_the_good_checkpoint(
    make_run, train_run, spoil_loss, monkeypatch, checkpoint_of, same, lasting
):
    run, whole = make_run("a"), make_run("b")
    train_run(whole)
    spoil_loss(4, math.nan)
    assert train_run(run) is State.FAILED
    monkeypatch.setattr(training_step, "mixed_cross_entropy", mixed_cross_entropy)
    assert train_run(run) is State.FINISHED
    assert run.status().message == ""
    assert same(checkpoint_of(run.path), checkpoint_of(whole.path))
    assert lasting(run.records()[0]) == lasting(whole.records()[0])


def test_row_21_a_validation_loss_that_is_not_finite_is_never_the_best(
    make_run, train_run, monkeypatch
):
    def measured(model, images, labels, mean, std, compute, tally, **options):
        tally.count, tally.correct, tally.loss_sum = 1, 1, math.nan
        tally.predicted = [labels]
        yield

    run = make_run()
    monkeypatch.setattr(loop, "evaluate", measured)
    assert train_run(run) is State.FAILED
    assert "diverged by step 3 (epoch 1): the validation loss is nan" in run.status().message
    assert run.status().best_acc is None
    assert not (run.path / "best.safetensors").exists()
    assert CheckpointStore(run.path, {}).load_newest().step == 0


def test_row_21_weights_that_turned_nan_after_a_good_loss_are_not_saved(
    make_run, train_run, monkeypatch
):
    """The step that overflows has a finite loss itself; a pause right after it saves."""
    step = loop.train_step

    def overflow(setup, network, state, indices):
        metrics = step(setup, network, state, indices)
        if metrics.step == 4:
            with torch.no_grad():
                next(state.model.parameters()).mul_(math.nan)
        return metrics

    run, seen = make_run(), []
    monkeypatch.setattr(loop, "train_step", overflow)
    state = train_run(
        run,
        on_record=lambda r: seen.append(r.step) if isinstance(r, StepRecord) else None,
        ask=lambda: "pause" if seen and seen[-1] == 4 else None,
    )
    assert state is State.FAILED
    assert "diverged at step 4" in run.status().message
    checkpoint = CheckpointStore(run.path, {}).load_newest()
    assert checkpoint.step == 3
    assert all_finite(checkpoint.weights)
    assert all_finite(load_weights(run.path / "last.safetensors")[0])
