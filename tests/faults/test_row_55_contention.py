"""Row 55 of docs/FAULTS.md: beside other work a training goes on, and its result is the same."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time

import pytest
import torch

from engine import contention
from engine.contention import CALM, CROWDED, HALF
from engine.runs.run import State

pytestmark = [
    pytest.mark.usefixtures("every_step"),
    pytest.mark.skipif(sys.platform != "linux", reason="Linux"),
    pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core"),
]


@pytest.fixture
def begun(make_run, train_run):
    """begun(4) is a run that was stopped in its first epoch, on so many threads by its record."""

    def make(threads: object):
        run = make_run()
        train_run(run, ask=lambda: "stop" if run.status().step else None)
        with run.hold("a test") as writer:
            writer.update(compute={**writer.status.compute, "threads": threads})
        return run

    return make


def test_a_resume_uses_as_many_threads_as_before(begun, train_run):
    torch.set_num_threads(1)
    run, seen = begun(2), []
    train_run(run, on_record=lambda record: seen.append(torch.get_num_threads()))
    assert set(seen) == {2} and torch.get_num_threads() == 1
    assert run.status().compute["threads"] == 2 and run.status().notes == []


@pytest.mark.parametrize("threads", [100_000, "many", -1, None])
def test_a_resume_with_other_threads_is_told(begun, train_run, threads):
    torch.set_num_threads(1)
    run = begun(threads)
    train_run(run)
    (note,) = run.status().notes
    changed = f"threads 1 (was {threads})"
    assert note == f"the run continues with {changed}: results may differ in the last bits"
    assert run.status().compute["threads"] == 1


@pytest.fixture(autouse=True)
def all_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    yield
    torch.set_num_threads(before)


@pytest.fixture
def outcome(make_run, tiny, train_run, checkpoint_of, monkeypatch):
    """outcome(name, answers): a run's last checkpoint, at these levels of the load, in turn."""
    monkeypatch.setattr(contention, "READ_EVERY_S", 0.0)

    def train(name, answers, **changes):
        cores, answers = [], itertools.cycle(answers)
        monkeypatch.setattr(contention.Load, "update", lambda self, *reading: next(answers))
        watch = lambda record: cores.append(len(os.sched_getaffinity(0)))  # noqa: E731
        run = make_run(name, tiny(**{"model.width": 0.25, "batch_size": 15, **changes}))
        assert train_run(run, on_record=watch) is State.FINISHED
        return checkpoint_of(run.path), set(cores)

    return train


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_result_is_the_same_to_the_bit(outcome, same, precision):
    every = len(os.sched_getaffinity(0))
    quiet, cores = outcome("quiet", [CALM], precision=precision)
    assert cores == {every}
    changing, cores = outcome("changing", [CALM, CROWDED, HALF, HALF], precision=precision)
    assert cores == {every - every // 2, every}
    assert same(changing, quiet)
    assert len(os.sched_getaffinity(0)) == every


def test_another_process_is_noticed(monkeypatch):
    monkeypatch.setattr(contention, "READ_EVERY_S", 0.2)
    a, deadline = torch.rand(500, 500), time.monotonic() + 30
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        with contention.relief(True) as relief:
            while not any(thread.name == "ballast" for thread in threading.enumerate()):
                assert time.monotonic() < deadline
                a = (a @ a).clamp(0, 1)
                relief.check()
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert not any(thread.name == "ballast" for thread in threading.enumerate())
    assert len(os.sched_getaffinity(0)) > 1
