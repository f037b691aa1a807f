"""The whitening of a run is fitted to images of every class, whatever their order."""

from dataclasses import replace

import torch

from engine.config import RunConfig, with_fields
from engine.models import whitening
from engine.training.prepare import new_model, prepare


def test_the_filters_do_not_depend_on_the_first_images_alone(tmp_path, monkeypatch):
    """Class folders come class by class; here the first half of the images is black."""
    monkeypatch.setattr(whitening, "IMAGES", 64)
    values = {"data.dataset": "shapes", "data.root": str(tmp_path), "data.limit": 256}
    config = with_fields(RunConfig(), {**values, "model.arch": "speedrun", "model.width": 0.25})
    prepared = prepare(config, tmp_path)
    images = prepared.splits.train_images.clone()
    images[:128] = 0
    splits = replace(prepared.splits, train_images=images)
    filters = [
        whitening.find(new_model(replace(prepared, splits=s))).weight
        for s in (splits, replace(splits, train_images=images[:128]))
    ]
    assert not torch.allclose(*filters)
