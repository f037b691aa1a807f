"""The app under AppTest, on folders of the test's own and with a worker of its own.

A plugin (see conftest.py in the root), because the pages' tests and the faults' both use it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from engine import runs
from engine import worker as worker_module
from engine.runs.run import Run, State
from pages.ui import folders, process

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def app(tmp_path, shapes_root, monkeypatch):
    """app("pages/1_Train.py", run="a") opens a page: an AppTest that has run once."""
    monkeypatch.setattr(folders, "RUN_ROOT", tmp_path / "runs")
    monkeypatch.setattr(folders, "STUDY_ROOT", tmp_path / "studies")
    monkeypatch.setattr(folders, "DATA_ROOT", shapes_root)
    # The probe would compete with the test for the cores, and its figure does not matter here.
    monkeypatch.setattr(process, "measure_speed", lambda config: None)
    monkeypatch.setattr(process, "prepare_shapes", lambda: None)
    st.cache_data.clear()
    st.cache_resource.clear()

    def open_page(page: str = "app.py", **query: str) -> AppTest:
        at = AppTest.from_file(REPOSITORY / "app.py", default_timeout=60)
        for key, value in query.items():
            at.query_params[key] = value
        if page != "app.py":
            at.switch_page(page)
        return at.run()

    yield open_page
    registry = sys.modules.pop(worker_module.REGISTRY, None)
    for worker in registry.workers.values() if registry else ():
        worker.close()


@pytest.fixture
def runs_root(app) -> Path:
    """Where the app under test keeps its runs."""
    folders.RUN_ROOT.mkdir(parents=True, exist_ok=True)
    return folders.RUN_ROOT


@pytest.fixture
def finished(runs_root, tiny):
    """finished("a", acc=[0.2, 0.4]) is a finished run with these validation accuracies."""

    def make(name: str, acc: tuple = (0.2, 0.4), **changes) -> Run:
        config = tiny(**{"model.num_classes": 10, **changes})
        run = runs.create(runs_root, name, config)
        with run.hold("a test") as writer:
            info = {
                "name": "shapes",
                "classes": list("abcdefghij"),
                "mean": [0.5] * 3,
                "std": [1] * 3,
            }
            writer.save_config(config, info)
            for epoch, value in enumerate(acc, start=1):
                writer.append([step_row(epoch), epoch_row(epoch, value)])
            writer.update(
                state=State.FINISHED,
                final_acc=acc[-1],
                best_acc=max(acc),
                best_epoch=acc.index(max(acc)) + 1,
                step=len(acc),
                steps=len(acc),
            )
        return run

    return make


def step_row(step: int) -> dict:
    return {
        "kind": "step", "step": step, "epoch": step, "loss": 2.0, "acc": 0.1, "lr": 0.1,
        "images_per_s": 50.0,
    }  # fmt: skip


def epoch_row(epoch: int, acc: float) -> dict:
    return {
        "kind": "epoch", "epoch": epoch, "step": epoch, "train_loss": 2.0 / epoch,
        "train_acc": acc / 2, "val_loss": 1.5 / epoch, "val_acc": acc, "lr": 0.1, "seconds": 1.0,
    }  # fmt: skip
