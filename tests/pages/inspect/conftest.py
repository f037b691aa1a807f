"""Networks and the page for the tests of Inspect."""

from __future__ import annotations

import pytest

from engine import data, runs
from engine.config import with_fields
from engine.data.shapes import CLASSES
from engine.device import resolve
from engine.inspect.predictions import predict
from engine.models import build_model
from engine.predict import Predictor, load_network
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import State
from pages.ui import folders


@pytest.fixture
def network(runs_root, tiny, tmp_path, monkeypatch):
    """network("a") is a finished run whose network guesses; seed: of its weights."""
    monkeypatch.setattr(folders, "SHIPPED", tmp_path / "shipped")

    def make(name, seed=0, classes=CLASSES, dataset="shapes", holdout=0):
        changes = {"model.num_classes": len(classes), "data.dataset": dataset}
        config = with_fields(tiny(), changes | {"data.holdout": holdout})
        model = build_model("resnet10", len(classes), width=config.model.width, seed=seed)
        run = runs.create(runs_root, name, config)
        info = {"name": dataset, "classes": classes, "mean": [0.5] * 3, "std": [0.25] * 3}
        with run.hold("a test") as writer:
            writer.save_config(config, info)
            writer.update(state=State.FINISHED)
        store = CheckpointStore(run.path, describe_model(config.model))
        store.save(1, model.state_dict(), {})
        return run

    return make


@pytest.fixture
def answers(network, shapes_root, tmp_path):
    """(predictions, labels) of a run's network for the test images, computed without the page."""

    def ask(run):
        images = data.load("shapes", shapes_root)
        steps = predict(run.path, images.test_images, tmp_path / "cache")
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value, images.test_labels

    return ask


@pytest.fixture
def page(app, network):
    def show(**query):
        at = app("pages/6_Inspect.py", **query)
        assert not at.exception
        return at

    return show


@pytest.fixture
def plain(network):
    """(Predictor, test images, labels) of a run's network, computed without the page."""

    def make(run, root):
        compute = resolve("cpu", "fp32")
        images = data.load("shapes", root)
        return Predictor(load_network(run.path, compute, "plain"), compute), images

    return make


@pytest.fixture
def why(page, network, plain, shapes_root):
    """The section for image 7 of a network: (page, predictor, data)."""
    run = network("a")
    return page(section="Why this answer", image="7"), *plain(run, shapes_root)


@pytest.fixture
def section(page):
    """section("How sure it is") opens the page at a section."""
    return lambda title, **query: page(section=title, **query)
