"""Row 31 of docs/FAULTS.md: a run deleted or renamed while it trains or classifies."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from PIL import Image

from engine import predict, runs
from engine.errors import CheckpointError, RunError
from engine.predict import Predictor
from engine.runs.run import Run, State
from pages.ui import folders, weights

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")

CHANGES = {"delete": runs.delete, "rename": lambda run: runs.rename(run, "other")}


@pytest.fixture
def short_wait(monkeypatch):
    monkeypatch.setattr("engine.runs.run.LOCK_WAIT_S", 0.05)


@pytest.fixture
def in_training(worker, at_step, tiny, tmp_path):
    """The run "busy", which stands still after its second step until it is let go."""
    reached, released = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert released.wait(100)

    at_step("busy", 2, hold)
    run = worker.submit(tiny(), "busy", tmp_path / "runs")
    assert reached.wait(100)
    yield run, released.set
    released.set()


@pytest.mark.parametrize("change", list(CHANGES))
def test_row_31_a_run_in_training_is_left_alone_and_its_holder_named(
    in_training, short_wait, change, wait_for
):
    run, release = in_training
    with pytest.raises(RunError, match=f"'busy' is in use by the app, process {os.getpid()} on"):
        CHANGES[change](run)
    assert [each.name for each in runs.list_runs(run.path.parent)] == ["busy"]
    assert run.status().state is State.RUNNING
    release()
    wait_for(lambda: run.status().state is State.FINISHED and not run.is_alive(), "its end")
    assert [r["step"] for r in run.records()[0] if r["kind"] == "step"] == [1, 2, 3, 4, 5, 6]
    CHANGES[change](run)
    assert not run.path.exists()


def test_row_31_a_run_that_waits_is_deleted_and_not_trained(in_training, worker, tiny, wait_for):
    busy, release = in_training
    waiting = worker.submit(tiny(), "waiting", busy.path.parent)
    worker.cancel(waiting)
    runs.delete(waiting)
    after = worker.submit(tiny(), "after", busy.path.parent)
    release()
    wait_for(lambda: after.status().state is State.FINISHED, "the run behind it")
    assert {run.name for run in runs.list_runs(busy.path.parent)} == {"busy", "after"}


@pytest.mark.parametrize("what", ["delete", "rename"])
def test_row_31_a_page_that_shows_an_old_state_is_refused(app, finished, short_wait, what):
    run = finished("stale")
    at = app("pages/2_Runs.py", run="stale")
    at.text_input(key="new_name_stale").set_value("other").run()
    with run.hold("train.py"):
        at.button(key=what).click().run()
    assert not at.exception
    shown = "\n".join(error.value for error in at.error)
    assert f"'stale' is in use by train.py, process {os.getpid()}" in shown
    assert [each.name for each in runs.list_runs(folders.RUN_ROOT)] == ["stale"]


@pytest.fixture
def trained(make_run, train_run) -> Run:
    run = make_run("net")
    assert train_run(run) is State.FINISHED
    return run


@pytest.fixture
def pictures():
    noise = np.random.default_rng(3).integers(256, size=(7, 40, 40, 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]


def test_row_31_a_loaded_network_outlives_its_run(trained, pictures):
    network = Predictor.load(trained.path)
    before = network.probabilities(pictures)
    runs.delete(trained)
    assert not trained.path.exists()
    np.testing.assert_array_equal(network.probabilities(pictures), before)
    with pytest.raises((CheckpointError, RunError), match="net"):
        Predictor.load(trained.path)


def test_row_31_a_run_deleted_between_two_batches_of_a_classification(
    trained, pictures, monkeypatch
):
    network = Predictor.load(trained.path)
    before, batches, forward = network.top_k(pictures), [], predict.predict_logits

    def delete_after_the_first(*args):
        logits = forward(*args)
        if not batches:
            thread = threading.Thread(target=runs.delete, args=(trained,))
            thread.start()
            thread.join()
        batches.append(len(logits))
        return logits

    monkeypatch.setattr(predict, "EVAL_BATCH", 3)
    monkeypatch.setattr(predict, "predict_logits", delete_after_the_first)
    after = network.top_k(pictures)
    assert batches == [3, 3, 1]
    assert not trained.path.exists()
    assert [[label for label, _ in row] for row in after] == [
        [label for label, _ in row] for row in before
    ]


def test_row_31_the_classify_page_whose_network_is_deleted_says_so(upload, classify_page, picture):
    upload(("a.png", picture()))
    assert classify_page.get("html")
    runs.delete(Run(folders.RUN_ROOT / "net"))
    assert weights.choices() == {}
    classify_page.run()
    assert not classify_page.exception
    assert "no trained network here yet" in classify_page.info[0].value
