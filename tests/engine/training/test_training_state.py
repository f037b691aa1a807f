"""The state of a training: what a checkpoint stores of it, and checkpoints from elsewhere."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch

import train
from engine.runs.checkpoint import CheckpointStore, load_weights
from engine.runs.run import Run, State
from engine.training.records import StepRecord
from engine.training.step import train_step

pytestmark = pytest.mark.usefixtures("one_thread")

FIXTURES = Path(__file__).parents[2] / "fixtures"
# The keys of state.pt: a checkpoint of any earlier version has these.
KEYS = [
    *("step", "epochs_done", "loss_sum", "acc_sum", "images", "epoch_seconds", "seconds"),
    *("best_acc", "best_epoch", "pending", "latest", "optimizer", "scaler", "average"),
]


@pytest.mark.parametrize("name", ["old-sgd-ema", "old-muon"])
def test_a_checkpoint_of_the_first_version_resumes_to_the_weights_it_led_to(
    name, shapes_root, tmp_path
):
    """Cut after epoch 1 of 3, on the first version's code; expected.safetensors is its end."""
    run = Run(shutil.copytree(FIXTURES / name, tmp_path / name))
    expected, header = load_weights(run.path / "expected.safetensors")
    before, _ = load_weights(run.path / "resume" / "3" / "weights.safetensors")
    words = ["--name", name, "--run-root", str(tmp_path), "--data-root", str(shapes_root)]
    assert train.main([*words, "--resume"]) == 0
    assert run.status().state is State.FINISHED
    assert [r["epoch"] for r in run.records()[0] if r["kind"] == "epoch"] == [1, 2, 3]
    weights, new_header = load_weights(run.path / "last.safetensors")
    assert new_header == header
    assert weights.keys() == expected.keys()
    assert distance(weights, expected) < 0.02 * distance(before, expected)


def distance(a, b):
    """Between the parameters and statistics of two networks; kernels of CPUs round differently."""
    floats = [key for key in a if a[key].is_floating_point()]
    return torch.cat([(a[key] - b[key]).flatten() for key in floats]).norm().item()


@pytest.mark.parametrize("name", ["old-sgd-ema", "old-muon"])
def test_a_checkpoint_has_the_keys_of_the_first_version(
    name, make_trainer, tiny, tmp_path, every_step
):
    old = CheckpointStore(FIXTURES / name, {}).load_newest()
    assert list(old.state) == KEYS
    given = json.loads((FIXTURES / name / "config.json").read_text())["optim"]
    changes = {f"optim.{key}": given[key] for key in ("optimizer", "lr", "ema")}
    records = make_trainer(tmp_path, tiny(**changes)).fit()
    next(record for record in records if isinstance(record, StepRecord))
    records.close()
    new = CheckpointStore(tmp_path, {}).load_newest()
    assert list(new.state) == KEYS
    assert new.weights.keys() == old.weights.keys()
    assert (new.state["average"] is None) == (old.state["average"] is None)
    for ours, theirs in zip(
        new.state["optimizer"]["param_groups"], old.state["optimizer"]["param_groups"], strict=True
    ):
        assert ours.keys() == theirs.keys()


def test_a_loaded_state_is_the_saved_one(make_trainer, tiny, same):
    config = tiny(**{"optim.ema": 0.9, "precision": "fp16"})
    first, second = make_trainer(config=config), make_trainer(config=config)
    first.meter.add(train_step(first.setup, first.network, first.state, torch.arange(16)))
    first.meter.read()
    saved = copy.deepcopy(first.state.state_dict())
    assert [record["step"] for record in saved["pending"]] == [1]
    second.model.load_state_dict(first.model.state_dict())
    second.state.load_state_dict(saved)
    assert same(second.state.state_dict(), first.state.state_dict())
    assert same(second.state.result(), first.state.result())
    assert list(second.meter.records()) == list(first.meter.records()) != []


@pytest.fixture(params=["sgd", "adamw"])
def goes_on_alike(request, make_trainer, tiny, same):
    """goes_on_alike(change): does a training go on from a changed optimizer state as it did?"""
    config = tiny(**{"optim.optimizer": request.param, "optim.lr": 0.01})
    first, second = make_trainer(config=config), make_trainer(config=config)

    def check(change) -> bool:
        train_step(first.setup, first.network, first.state, torch.arange(16))
        state = copy.deepcopy(first.state.state_dict())
        change(state["optimizer"])
        second.model.load_state_dict(first.model.state_dict())
        second.state.load_state_dict(state)
        for trainer in (first, second):
            train_step(trainer.setup, trainer.network, trainer.state, torch.arange(16, 32))
        assert all(group["fused"] for group in second.state.optimizer.param_groups)
        return same(second.model.state_dict(), first.model.state_dict())

    return check


def test_a_checkpoint_of_an_unfused_optimizer_is_accepted(goes_on_alike):
    assert goes_on_alike(lambda optimizer: optimizer["param_groups"][0].update(fused=None))


def test_a_checkpoint_in_another_memory_format_is_accepted(goes_on_alike):
    def change(optimizer: dict) -> None:
        plain, last = torch.contiguous_format, torch.channels_last
        for held in optimizer["state"].values():
            for key, value in held.items():
                if value.ndim == 4:
                    other = last if value.is_contiguous() else plain
                    held[key] = value.contiguous(memory_format=other)

    assert goes_on_alike(change)
