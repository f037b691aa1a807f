"""Networks and the page for the tests of Classify."""

import pytest
import torch

from engine import runs
from engine.config import with_fields
from engine.models import build_model
from engine.runs.checkpoint import CheckpointStore, describe_model
from pages.ui import folders
from tests.pages.classify.helpers import CLASSES, put


@pytest.fixture
def root(runs_root, tmp_path, monkeypatch):
    """The folder of the runs that the page sees; shipped ones lie in its neighbour "shipped"."""
    monkeypatch.setattr(folders, "SHIPPED", tmp_path / "shipped")
    return runs_root


@pytest.fixture
def network(root, tiny):
    """network("a", says=3) is a run whose network is sure of class 3; says=None: of nothing."""

    def make(name, folder=None, says=3, classes=CLASSES, kinds=("best", "last"), dataset="shapes"):
        changes = {"model.num_classes": len(classes), "data.dataset": dataset}
        config = with_fields(tiny(), changes)
        model = build_model("resnet10", len(classes), width=config.model.width)
        with torch.no_grad():
            head = list(model.parameters())[-2:]
            head[0].zero_(), head[1].zero_()
            if says is not None:
                head[1][says] = 30.0
        run = runs.create(folder or root, name, config)
        info = {"name": dataset, "classes": classes, "mean": [0.5] * 3, "std": [0.25] * 3}
        with run.hold("a test") as writer:
            writer.save_config(config, info)
        store = CheckpointStore(run.path, describe_model(config.model))
        if "best" in kinds:
            store.save_best(model.state_dict(), 1, 0.5)
        if "last" in kinds:
            store.save(1, model.state_dict(), {})
        return run

    return make


@pytest.fixture
def page(app, root):
    """page(("a.png", bytes), …) opens the page and uploads these files."""

    def show(*files):
        at = app("pages/5_Classify.py")
        if files:
            put(at, *files)
        assert not at.exception
        return at

    return show


@pytest.fixture
def guessing(network):
    """A run whose network has random weights; all features speak for all of its classes."""
    torch.manual_seed(0)
    run = network("a", says=0, classes=("cat", "dog", "emu"))
    model = build_model("resnet10", 3, width=run.config().model.width)
    with torch.no_grad():
        list(model.parameters())[-2].abs_()
    CheckpointStore(run.path, describe_model(run.config().model)).save_best(
        model.state_dict(), 2, 0.5
    )
    return run


@pytest.fixture
def tests_of(page):
    """tests_of(app) opens the tab of the test images."""

    def switch(app):
        app.session_state["source"] = "Random test images"
        app.run()
        assert not app.exception
        return app

    return switch
