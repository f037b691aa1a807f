"""Row 51 of docs/FAULTS.md: an extension at the peak rate, or over images in the same order."""

from __future__ import annotations

import json

import pytest
import torch

from engine import advice, runs
from engine.augment import Pipeline
from engine.config import RunConfig, with_fields
from engine.recipe import SCHEDULES
from engine.runs.checkpoint import load_weights
from engine.runs.extend import describe_schedule, extension
from engine.runs.run import Run, State
from engine.schedules import learning_rate
from engine.training import loop
from engine.training.prepare import prepare

STEPS = {"schedule.kind": "multi_step", "schedule.milestones": [60, 120, 160], "epochs": 200}


def ended(folder, config: RunConfig, share: float = 1.0) -> Run:
    """A run of `config`, of which this share was trained."""
    run = runs.create(folder, "a", config)
    with run.hold("a test") as writer:
        writer.update(state=State.STOPPED, step=round(share * 1000), steps=1000)
    return run


def rates(config: RunConfig) -> list[float]:
    steps = range(config.epochs * 10)
    return [learning_rate(config.schedule, config.optim.lr, s, 10, config.epochs) for s in steps]


@pytest.mark.parametrize(
    ("share", "rate"), [(1.0, 1e-3), (0.7, 1e-2), (0.5, 0.1), (0.6, 0.1), (0.2, 0.1), (0.0, 0.1)]
)
def test_a_run_of_steps_is_extended_from_the_rate_before_its_last_step(tmp_path, tiny, share, rate):
    more = extension(ended(tmp_path, tiny(**STEPS), share), 5)
    assert rates(more)[0] == pytest.approx(rate)
    assert max(rates(more)) == rates(more)[0] and rates(more)[-1] < 0.01 * rate
    assert describe_schedule(more) == f"a cosine from {rate:g} to 0"
    assert not advice.warnings(more)


def test_another_gamma_is_another_step_down(tmp_path, tiny):
    config = tiny(**STEPS, **{"schedule.gamma": 0.5})
    assert extension(ended(tmp_path, config), 5).optim.lr == pytest.approx(0.025)


@pytest.mark.parametrize("kind", [kind for kind in SCHEDULES if kind != "multi_step"])
def test_other_schedules_begin_afresh(tmp_path, tiny, kind):
    config = tiny(**{"schedule.kind": kind, "epochs": 50, "schedule.warmup": 5})
    more = extension(ended(tmp_path, config), 3)
    assert (more.schedule.kind, more.optim.lr, more.epochs) == (kind, 0.1, 3)
    assert more.schedule.warmup == 1
    assert describe_schedule(more).endswith(", after 1 epoch of warm-up")
    assert more.pretrained == "a"


def test_an_extension_of_an_extension_goes_on_from_its_rate(tmp_path, tiny):
    more = extension(ended(tmp_path, tiny(**STEPS)), 5)
    again = extension(ended(tmp_path / "again", more), 5)
    assert again.optim.lr == pytest.approx(1e-3)
    assert again.schedule.kind == "cosine_annealing"


def test_the_page_says_the_schedule_and_its_warnings_before_the_start(app, finished):
    for name, changes in (("a", STEPS), ("b", {})):
        run = finished(name, **changes, **{"optim.optimizer": "adam"})
        (run.path / "last.safetensors").touch()
    at = app("pages/2_Runs.py", run="a")
    at.number_input(key="extend_epochs").set_value(7).run()
    captions = [caption.value for caption in at.caption]
    assert any("a cosine from 0.001 to 0, over 7 epochs." in each for each in captions)
    at = app("pages/2_Runs.py", run="b")
    assert any("Learning rate 0.1 is high for adam" in warning.value for warning in at.warning)


@pytest.fixture
def drawn(monkeypatch, train_run):
    """drawn(run) trains it: the order of each of its epochs, and the crops of its batches."""
    orders, crops = [], []
    order, sample = loop.epoch_permutation, Pipeline.sample

    def note_order(*args):
        orders.append(order(*args).tolist())
        return torch.tensor(orders[-1])

    def note_crops(self, shape, generator):
        params = sample(self, shape, generator)
        crops.append(str(params))
        return params

    monkeypatch.setattr(loop, "epoch_permutation", note_order)
    monkeypatch.setattr(Pipeline, "sample", note_crops)

    def train(run: Run, **options) -> tuple[list, list]:
        orders.clear(), crops.clear()
        train_run(run, **options)
        return list(orders), list(crops)

    return train


def test_an_extension_goes_on_where_its_parent_ended(tmp_path, tiny, drawn, one_thread):
    orders, crops = [], []
    config = tiny(**{"augment.alternating_flip": True})
    for name in ("a", "a-more", "a-more-more"):
        run = runs.create(tmp_path, name, config)
        new_orders, new_crops = drawn(run)
        orders += new_orders
        crops += new_crops
        config = extension(run, 2)
    assert len({str(order) for order in orders}) == len(orders) == 6
    assert len(set(crops)) == len(crops) == 18
    assert [Run(tmp_path / n).config().first_epoch for n in ("a", "a-more", "a-more-more")] == [
        *(0, 2, 4)
    ]
    # As one run of six epochs would have gone on.
    whole = runs.create(tmp_path, "whole", tiny(epochs=6, **{"augment.alternating_flip": True}))
    assert drawn(whole)[0] == orders


def test_it_goes_on_past_a_run_with_another_seed_or_other_images(tmp_path, tiny, train_run):
    base = tiny(epochs=3)
    train_run(runs.create(tmp_path, "a", base))
    train_run(runs.create(tmp_path, "b", with_fields(base, {"pretrained": "a", "seed": 1})))
    assert Run(tmp_path / "b").config().first_epoch == 0
    third = prepare(with_fields(base, {"pretrained": "b"}), tmp_path)
    assert third.config.first_epoch == 3


def test_an_old_extension_goes_on_as_it_began(tmp_path, tiny, train_run, drawn, every_step):
    parent = runs.create(tmp_path, "a", tiny())
    train_run(parent)
    old = runs.create(tmp_path, "old", extension(parent, 2))
    train_run(old, ask=lambda: "pause")
    values = json.loads((old.path / "config.json").read_text())
    del values["first_epoch"], values["dataset_info"]["lineage"]
    (old.path / "config.json").write_text(json.dumps(values))
    orders, _ = drawn(old)
    assert old.config().first_epoch == 0
    assert orders == drawn(runs.create(tmp_path, "fresh", tiny()))[0]


def test_a_paused_extension_is_resumed_with_the_same_keys(
    tmp_path, tiny, train_run, every_step, same
):
    parent = runs.create(tmp_path, "a", tiny())
    train_run(parent)
    config = extension(parent, 2)
    whole, parts = (runs.create(tmp_path, name, config) for name in ("whole", "parts"))
    train_run(whole)
    answers = iter([None, None, None])
    assert train_run(parts, ask=lambda: next(answers, "pause")) is State.PAUSED
    assert train_run(parts) is State.FINISHED
    weights = [load_weights(run.path / "last.safetensors")[0] for run in (whole, parts)]
    assert same(*weights)
