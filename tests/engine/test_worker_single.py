"""One worker for a device in a process, and runs of other processes."""

import atexit
import importlib
import sys
import threading

import pytest

import engine
from engine import worker as worker_module
from engine.runs.run import State
from engine.worker import REGISTRY, Worker, get_worker

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def own_registry():
    """No workers at first; those that are made are closed at the end."""
    before = sys.modules.pop(REGISTRY, None)
    yield
    for worker in sys.modules.pop(REGISTRY).workers.values():
        assert worker.close()
        atexit.unregister(worker.close)
    if before:
        sys.modules[REGISTRY] = before


def training_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("training-")]


def test_every_caller_gets_the_same_worker(own_registry):
    assert get_worker("cpu") is get_worker("cpu") is get_worker("cpu:0")
    assert isinstance(get_worker("cpu"), Worker)
    assert len(training_threads()) == 1


def test_callers_at_once_get_the_same_worker(own_registry):
    barrier, found = threading.Barrier(16), []

    def ask():
        barrier.wait()
        found.append(get_worker("cpu"))

    callers = [threading.Thread(target=ask) for _ in range(16)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(found) == 16
    assert len(set(map(id, found))) == 1
    assert len(training_threads()) == 1


def test_a_module_that_is_evicted_and_imported_anew_finds_the_worker(own_registry, monkeypatch):
    before = get_worker("cpu")
    monkeypatch.setattr(engine, "worker", worker_module)  # restores it at the end
    monkeypatch.delitem(sys.modules, "engine.worker")
    fresh = importlib.import_module("engine.worker")
    assert fresh is not worker_module
    assert fresh.get_worker("cpu") is before
    importlib.reload(fresh)
    assert fresh.get_worker("cpu") is before
    assert len(training_threads()) == 1


def test_a_run_of_train_py_in_another_process_is_stopped_from_here(
    worker, python, tmp_path, tiny_args, wait_for
):
    words = tiny_args(tmp_path, "--name", "theirs", "-e", 100_000)
    child = python("import train; sys.exit(train.main(WORDS))", WORDS=words)
    run = worker_module.Run(tmp_path / "theirs")
    wait_for(lambda: (run.path.exists() and run.status().step > 0) or child.process.exitcode)
    worker.stop(run)
    assert child.wait() == 0, child.text
    assert run.status().state is State.STOPPED
    assert "resume with: python train.py --name theirs --resume" in child.text
