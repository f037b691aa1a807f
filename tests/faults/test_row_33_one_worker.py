"""Row 33 of docs/FAULTS.md: one worker after caches are cleared and modules reloaded."""

from __future__ import annotations

import importlib
import sys
import threading

import pytest
import streamlit as st

import engine
from engine import worker as worker_module
from engine.runs.run import Run, State
from pages.ui import choices, folders, process

pytestmark = pytest.mark.usefixtures("one_thread")

PAGE = "pages/1_Train.py"


def training_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("training-")]


@pytest.fixture
def in_training(app, tiny, wait_for):
    """A Train page on which a run that lasts was started."""
    assert training_threads() == []
    at = app(PAGE, choices=choices.encode(tiny(epochs=5_000)))
    at.text_input(key="run_name").set_value("lasting").run()
    at.button(key="start").click().run()
    run = Run(folders.RUN_ROOT / "lasting")
    wait_for(lambda: run.status().step > 0, "the first step")
    yield at, run
    run.request("stop")
    wait_for(lambda: run.status().state is State.STOPPED, "the run to stop")


def clear_caches(monkeypatch):
    st.cache_resource.clear()
    st.cache_data.clear()


def evict_the_module(monkeypatch):
    """What a file watcher does when engine/worker.py was edited."""
    monkeypatch.setattr(engine, "worker", worker_module)  # brings it back at the end
    monkeypatch.delitem(sys.modules, "engine.worker")
    fresh = importlib.import_module("engine.worker")
    assert fresh is not worker_module
    monkeypatch.setattr(process, "get_worker", fresh.get_worker)


def reload_the_module(monkeypatch):
    evict_the_module(monkeypatch)
    importlib.reload(sys.modules["engine.worker"])
    monkeypatch.setattr(process, "get_worker", sys.modules["engine.worker"].get_worker)


@pytest.mark.parametrize("upset", [clear_caches, evict_the_module, reload_the_module])
def test_row_33_there_is_still_one_worker_and_its_run_goes_on(
    in_training, app, monkeypatch, wait_for, upset
):
    at, run = in_training
    worker, threads = process.worker(), training_threads()
    assert len(threads) == 1
    upset(monkeypatch)
    at.run()
    later = app(PAGE)
    assert not at.exception and not later.exception
    assert process.worker() is worker
    assert training_threads() == threads
    assert run.name in [heading.value for heading in later.subheader]
    step = run.status().step
    wait_for(lambda: run.status().step > step, "another step")
    assert run.status().state is State.RUNNING


def test_row_33_a_run_submitted_after_all_that_waits_for_the_same_worker(
    in_training, tiny, monkeypatch, wait_for
):
    at, run = in_training
    for upset in (clear_caches, evict_the_module, clear_caches):
        upset(monkeypatch)
    at.text_input(key="run_name").set_value("next").run()
    at.button(key="queue").click().run()
    assert not at.exception
    assert Run(folders.RUN_ROOT / "next").status().state is State.QUEUED
    assert [each.name for each in process.worker().waiting()] == ["next"]
    assert process.worker().current.name == run.name
    assert len(training_threads()) == 1
    process.worker().cancel(Run(folders.RUN_ROOT / "next"))


def test_row_33_ten_runs_of_every_page_make_no_second_thread(in_training, app):
    threads = training_threads()
    pages = ["app.py", PAGE, "pages/2_Runs.py"]
    for page in pages:
        at = app(page)
        for _ in range(3):
            at.run()
        assert not at.exception
    assert training_threads() == threads
