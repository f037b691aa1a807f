"""Row 39: clean train accuracy of images that come class by class."""

import dataclasses

import torch

from engine.data.batches import sample_indices
from engine.evaluate import Tally
from pages.ui import folders, readings


def test_row_39_a_sample_is_seeded_and_holds_every_class():
    labels = torch.arange(10).repeat_interleave(500)  # as folders come
    chosen = sample_indices(len(labels), 1_000, seed=3)
    assert len(set(chosen.tolist())) == 1_000
    assert chosen.tolist() == sorted(chosen.tolist())
    assert min(labels[chosen].bincount(minlength=10)) > 50
    assert torch.equal(chosen, sample_indices(len(labels), 1_000, seed=3))
    assert not torch.equal(chosen, sample_indices(len(labels), 1_000, seed=4))
    assert sample_indices(7, 1_000, seed=0).tolist() == list(range(7))


def test_row_39_the_page_measures_images_of_all_classes(
    tmp_path, monkeypatch, tiny, shapes_root, make_run, sit
):
    """The labels that are measured, of a data set in the order of its class folders."""
    run = make_run("a", tiny(**{"data.limit": 400, "epochs": 1}))
    sit(run)
    monkeypatch.setattr(folders, "DATA_ROOT", shapes_root)
    monkeypatch.setattr(readings, "CLEAN_IMAGES", 100)
    sorted_images = readings.images("shapes")
    order = sorted_images.train_labels.argsort(stable=True)
    by_class = {
        "train_images": sorted_images.train_images[order],
        "train_labels": sorted_images.train_labels[order],
    }
    monkeypatch.setattr(
        readings, "images", lambda _: dataclasses.replace(sorted_images, **by_class)
    )
    measured = []
    monkeypatch.setattr(
        readings,
        "measure",
        lambda network, images, labels, compute: measured.append(labels) or Tally(),
    )
    readings.clean_train_accuracy(str(run.path), 0, "shapes")
    (labels,) = measured
    assert len(labels) == 100
    assert len(labels.unique()) >= 8
