"""Row 39 of docs/FAULTS.md: clean training accuracy of images sorted by class."""

import dataclasses

import torch

from engine import data, predict
from engine.data.batches import sample_indices
from engine.device import resolve
from engine.evaluate import Tally


def test_row_39_a_sample_is_seeded_and_holds_every_class():
    labels = torch.arange(10).repeat_interleave(500)  # as folders come
    chosen = sample_indices(len(labels), 1_000, seed=3)
    assert len(set(chosen.tolist())) == 1_000
    assert chosen.tolist() == sorted(chosen.tolist())
    assert min(labels[chosen].bincount(minlength=10)) > 50
    assert torch.equal(chosen, sample_indices(len(labels), 1_000, seed=3))
    assert not torch.equal(chosen, sample_indices(len(labels), 1_000, seed=4))
    assert sample_indices(7, 1_000, seed=0).tolist() == list(range(7))


def test_row_39_images_of_all_classes_are_measured(
    monkeypatch, tiny, shapes_root, make_run, train_run
):
    """The labels that are measured, of a data set in the order of its class folders."""
    run = make_run("a", tiny(**{"data.limit": 400, "epochs": 1}))
    train_run(run)
    shapes = data.load("shapes", shapes_root)
    order = shapes.train_labels.argsort(stable=True)
    by_class = dataclasses.replace(
        shapes, train_images=shapes.train_images[order], train_labels=shapes.train_labels[order]
    )
    measured = []

    def measure(network, images, labels, compute) -> Tally:
        measured.append(labels)
        return Tally(correct=1, count=4)

    monkeypatch.setattr(predict, "CLEAN_IMAGES", 100)
    monkeypatch.setattr(predict, "measure", measure)
    assert predict.clean_train_accuracy(run.path, by_class, resolve("cpu", "fp32")) == 0.25
    (labels,) = measured
    assert len(labels) == 100
    assert len(labels.unique()) >= 8
