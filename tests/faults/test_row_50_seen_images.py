"""Row 50 of docs/FAULTS.md: held-out images that the initial weights were trained on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

import train
from engine import data, runs
from engine.config import with_fields
from engine.data import lineage
from engine.data.batches import split, split_indices
from engine.data.lineage import Training
from engine.device import resolve
from engine.evaluate import Tally
from engine.predict import clean_train_accuracy
from engine.runs.checkpoint import load_weights, save_weights
from engine.runs.run import Run, State
from engine.runs.validation import seen_clause
from engine.training import initial
from engine.training.prepare import prepare
from pages.ui import tables

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "pretrained"
COUNT = 500  # training images of the tests' shapes
KEEPS = {"data.limit": None, "batch_size": 512, "epochs": 1}


@pytest.fixture(scope="module")
def root(tmp_path_factory, tiny, train_run, one_thread):
    """Finished runs: `parent` held out 100 images, `all` none, `half` was trained on 200."""
    folder = tmp_path_factory.mktemp("runs")
    for name, changes in (
        ("parent", {"data.holdout": 100}),
        ("all", {"data.holdout": 0}),
        ("half", {"data.holdout": 0, "data.limit": 200}),
    ):
        run = runs.create(folder, name, tiny(**{**KEEPS, **changes}))
        assert train_run(run) is State.FINISHED
    return folder


@pytest.fixture
def child(tiny, root):
    """child("parent", seed=1): a run from another's weights, prepared."""

    def make(parent: str, holdout: int = 100, **changes):
        values = {**KEEPS, "data.holdout": holdout, "pretrained": parent, **changes}
        return prepare(tiny(**values), root)

    return make


def rows(images: torch.Tensor) -> set[bytes]:
    return {image.numpy().tobytes() for image in images}


def trained_images(root, name: str) -> set[bytes]:
    run = Run(root / name)
    return rows(prepare(run.config(), root, run).splits.train_images)


@pytest.mark.parametrize(
    ("parent", "holdout", "seed", "seen"),
    [
        ("parent", 100, 0, 0),  # as before
        ("parent", 100, 1, 0),  # the parent's own held-out images, though the seed is another
        ("parent", 40, 1, 0),
        ("parent", 250, 0, 150),  # there are no more than 100 others
        ("all", 100, 0, 100),
        ("half", 100, 0, 0),  # the parent was trained on the first of this very order
        ("half", 400, 2, 100),
    ],
)
def test_images_that_no_ancestor_was_trained_on_are_held_out_first(
    root, child, parent, holdout, seed, seen
):
    splits = child(parent, holdout, seed=seed).splits
    overlap = rows(splits.val_images) & trained_images(root, parent)
    assert len(overlap) == seen == splits.val_seen
    assert len(splits.val_images) == holdout
    assert not rows(splits.val_images) & rows(splits.train_images)
    assert len(splits.train_images) == COUNT - holdout


def test_a_child_with_the_seed_of_its_parent_is_split_as_before(child):
    splits = child("parent").splits
    info = child("parent").info
    before = split(info, holdout=100, seed=0)
    assert torch.equal(splits.val_images, before.val_images)
    assert torch.equal(splits.train_images, before.train_images)
    limited = child("parent", **{"data.limit": 50}).splits
    assert torch.equal(
        limited.train_images, split(info, holdout=100, limit=50, seed=0).train_images
    )


def test_without_initial_weights_the_split_is_that_of_the_seed():
    labels = torch.arange(30) % 3
    held, kept = split_indices(labels, holdout=7, limit=9, seed=3)
    assert len({*held.tolist(), *kept.tolist()}) == 16
    avoid = torch.zeros(30, dtype=torch.bool)
    again = split_indices(labels, holdout=7, limit=9, seed=3, avoid=avoid)
    assert torch.equal(held, again[0]) and torch.equal(kept, again[1])
    avoid[held[:2]] = True
    other, _ = split_indices(labels, holdout=7, limit=9, seed=3, avoid=avoid)
    assert not avoid[other].any()


def test_the_chain_of_parents_is_followed_even_when_they_are_gone(root, tiny, train_run):
    first = runs.create(root, "first", tiny(**KEEPS, **{"data.holdout": 100}))
    train_run(first)
    second = tiny(**KEEPS, pretrained="first", **{"data.holdout": 50, "seed": 1})
    train_run(runs.create(root, "second", second))
    runs.delete(first)
    third = prepare(with_fields(second, {"pretrained": "second", "seed": 2}), root)
    assert third.splits.val_seen == 0
    assert not rows(third.splits.val_images) & trained_images(root, "second")
    assert [t.seed for t in third.lineage] == [0, 1]
    wide = with_fields(second, {"pretrained": "second", "seed": 2, "data.holdout": 100})
    assert prepare(wide, root).splits.val_seen == 50


def test_it_is_said_wherever_the_accuracy_is(root, tiny_args, capsys, app, monkeypatch):
    words = ["--name", "larger", "--pretrained", "parent", "--holdout", 250, "-e", 1]
    assert train.main(tiny_args(root, *words)) == 0
    clause = ", 150 of which the initial weights were trained on"
    out = capsys.readouterr().out
    assert f"validation: held-out training images{clause} (250 images)" in out
    assert f"on held-out training images{clause} (250 images)" in out
    run = Run(root / "larger")
    assert run.status().val_seen == 150
    assert f"validation on held-out training images{clause}" in run.log()
    table = tables.run_table([(run, run.status())])
    assert table["Measured on"].tolist() == [f"held-out{clause}"]
    monkeypatch.setattr("pages.ui.folders.RUN_ROOT", root)
    page = app("pages/2_Runs.py", run="larger")
    shown = [caption.value for caption in page.caption]
    assert f"Measured on held-out images{clause}: the accuracy is optimistic." in shown


def test_a_resume_keeps_the_split(root, tiny, train_run, every_step):
    config = tiny(**{"pretrained": "parent", "seed": 1, "data.limit": None, "epochs": 1})
    run, answers = runs.create(root, "paused", config), iter([None, None])
    assert train_run(run, ask=lambda: next(answers, "pause")) is State.PAUSED
    assert len(run.dataset_info()["lineage"]) == 1
    before = prepare(config, root).splits
    after = prepare(run.config(), root, run).splits
    assert torch.equal(before.val_images, after.val_images)
    assert before.val_seen == after.val_seen == 0
    assert train_run(run) is State.FINISHED
    assert len(run.dataset_info()["lineage"]) == 1


def make_old(run: Run) -> None:
    """A run as older versions left it."""
    values = json.loads((run.path / "config.json").read_text())
    for key in ("lineage", "fingerprint"):
        values["dataset_info"].pop(key, None)
    (run.path / "config.json").write_text(json.dumps(values))


def test_an_old_child_that_is_resumed_keeps_its_old_split(root, tiny, train_run, every_step):
    config = tiny(**{"pretrained": "parent", "seed": 1, "data.limit": None, "epochs": 1})
    run, answers = runs.create(root, "old", config), iter([None, None])
    assert train_run(run, ask=lambda: next(answers, "pause")) is State.PAUSED
    make_old(run)
    prepared = prepare(run.config(), root, run)
    expected = split(prepared.info, holdout=40, seed=1)
    assert torch.equal(prepared.splits.val_images, expected.val_images)
    assert train_run(run) is State.FINISHED
    assert "lineage" not in run.dataset_info()


def test_old_parents_are_followed_by_their_configs(root, tiny, train_run, child, tmp_path):
    for name in ("parent", "all"):
        shutil.copytree(root / name, tmp_path / name)
        make_old(Run(tmp_path / name))
    values = {**KEEPS, "data.holdout": 100, "seed": 1, "pretrained": "parent"}
    assert prepare(tiny(**values), tmp_path).splits.val_seen == 0
    # A child of an old version did not avoid what its parent was trained on.
    old = runs.create(tmp_path, "child", tiny(**values))
    train_run(old)
    make_old(old)
    kept = [split(child("parent").info, holdout=100, seed=seed).train_images for seed in (0, 1)]
    third = prepare(tiny(**{**values, "pretrained": "child", "seed": 0}), tmp_path).splits
    unseen = COUNT - len(rows(kept[0]) | rows(kept[1]))
    assert third.val_seen == 100 - unseen


def test_a_lineage_that_is_not_known_is_said(root, tiny, tmp_path):
    file = tmp_path / "bare.safetensors"
    save_weights(file, *load_weights(root / "parent" / "last.safetensors"))
    values = {**KEEPS, "data.holdout": 100, "pretrained": str(file)}
    assert prepare(tiny(**values), root).splits.val_seen is None
    # The test images of the built-in data are those of no training.
    assert prepare(tiny(**{**values, "data.holdout": 0}), root).splits.val_seen == 0
    assert "may have been" in seen_clause(None)


def test_a_child_whose_status_is_lost_no_longer_knows_the_number(root, tiny):
    lost = []
    for name, pretrained in (("child-lost", "parent"), ("lost", None)):
        run = runs.create(root, name, tiny(pretrained=pretrained))
        (run.path / "status.json").write_text("{")
        lost.append(run.status().val_seen)
    assert lost == [None, 0]


def test_another_version_of_the_data_may_hold_the_same_images(child):
    info = child("parent").info
    other = Training("12 other", classes=info.classes[:2])
    assert lineage.may_include([other], info)
    assert not lineage.may_include([Training("12 other", classes=("x", "y"))], info)
    assert not lineage.trained_on([other], info).any()


@pytest.mark.parametrize("shipped", runs.list_runs(SHIPPED), ids=lambda run: run.name)
def test_a_shipped_network_was_trained_on_all_of_its_data(shipped, tiny, child):
    known = shipped.dataset_info()
    names = ("name", "classes", "mean", "std", "fingerprint")
    info = dataclasses.replace(
        child("parent").info, **{key: known[key] for key in names if key in known}
    )
    config = with_fields(tiny(), {"pretrained": str(shipped.path)})
    before = initial.find_lineage(config, shipped.path.parent, info)
    assert lineage.trained_on(before, info).all()


def test_clean_train_accuracy_is_measured_on_the_images_trained_on(
    root, tiny, train_run, monkeypatch
):
    config = tiny(**KEEPS, pretrained="parent", **{"data.holdout": 100, "seed": 5})
    run = runs.create(root, "clean", config)
    train_run(run)
    measured = []

    def note(network, images, labels, compute):
        measured.append(images)
        return Tally()

    monkeypatch.setattr("engine.predict.measure", note)
    images = data.load("shapes", Path(config.data.root))
    clean_train_accuracy(run.path, images, resolve("cpu", "fp32"))
    assert rows(measured[0]) <= trained_images(root, "clean")
