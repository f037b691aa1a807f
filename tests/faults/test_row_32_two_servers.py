"""Row 32 of docs/FAULTS.md: two servers, or a server and the command line, on one run."""

from __future__ import annotations

import os
import re
import threading

import pytest

import train
from engine import runs
from engine.errors import RunError
from engine.runs.run import Run, State

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")

# What another server does, as far as its runs can tell: it trains one run, others wait.
SLOW = """
import time
from engine.training import loop
loop.READ_EVERY_S = 0.0
step = loop.train_step
def slow(*args):
    time.sleep(0.05)
    return step(*args)
loop.train_step = slow
"""
SERVER = f"""{SLOW}
from pathlib import Path
from engine.config import RunConfig
from engine.worker import get_worker
for name, config in RUNS:
    get_worker("cpu").submit(RunConfig.from_json(config), name, Path(ROOT))
time.sleep(1000)
"""
COMMAND = f"""{SLOW}
import train
raise SystemExit(train.main(WORDS))
"""


@pytest.fixture(autouse=True)
def short_wait(monkeypatch):
    monkeypatch.setattr("engine.runs.run.LOCK_WAIT_S", 0.05)


@pytest.fixture
def other_server(python, tiny, tmp_path, wait_for):
    """The process of another server, which trains "one" for long, while "two" waits for it."""
    long, short = tiny(epochs=5_000).to_json(), tiny().to_json()
    child = python(SERVER, RUNS=[("one", long), ("two", short)], ROOT=str(tmp_path))
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    wait_for(lambda: two.path.exists() and one.status().step > 0, "the other server's training")
    return child, one, two


def ended(run: Run) -> State | None:
    """Its last state, once nobody holds it any more."""
    return None if run.is_alive() else run.status().state


def goes_on(run: Run, wait_for) -> None:
    step = run.status().step
    wait_for(lambda: run.status().step > step, "its next step")
    assert run.status().state is State.RUNNING


def test_row_32_the_command_line_is_refused_what_a_server_trains(
    other_server, tmp_path, capsys, wait_for
):
    child, one, _ = other_server
    words = ["--name", "one", "--resume", "--run-root", str(tmp_path)]
    assert train.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    line = f"train.py: run 'one' is in use by the app, process {child.pid} on \\S+\n"
    assert re.fullmatch(line, err)
    goes_on(one, wait_for)


def test_row_32_a_server_is_refused_what_another_trains(other_server, worker, wait_for):
    child, one, _ = other_server
    holder = f"'one' is in use by the app, process {child.pid} on"
    for command in (worker.resume, worker.cancel, runs.delete):
        with pytest.raises(RunError, match=holder):
            command(one)
    assert worker.waiting() == []
    goes_on(one, wait_for)


def test_row_32_a_server_is_refused_what_the_command_line_trains(
    python, tiny_args, tmp_path, worker, wait_for
):
    words = tiny_args(tmp_path, "--name", "theirs", "-e", 5_000)
    child, run = python(COMMAND, WORDS=words), Run(tmp_path / "theirs")
    wait_for(lambda: run.path.exists() and run.status().step > 0, "the first step")
    with pytest.raises(RunError, match=f"in use by train.py, process {child.pid} on"):
        worker.resume(run)
    goes_on(run, wait_for)
    assert worker.current is None


def test_row_32_a_queue_that_two_servers_took_up_is_trained_once(
    other_server, worker, tmp_path, wait_for
):
    _, one, two = other_server
    assert [run.name for run in worker.continue_queue(tmp_path)] == ["two"]
    wait_for(lambda: ended(two) is State.FINISHED, "the queued run")
    assert re.match(rf"the app, process {os.getpid()} on", two.holder())
    before = (two.path / "metrics.jsonl").read_bytes(), two.log()
    goes_on(one, wait_for)
    one.request("stop")  # now the other server finds it in its queue
    wait_for(lambda: ended(one) is State.STOPPED, "the other server's run")
    third = worker.submit(two.config(), "third", tmp_path)
    wait_for(lambda: third.status().state is State.FINISHED, "a run after it")
    assert ((two.path / "metrics.jsonl").read_bytes(), two.log()) == before
    assert two.status().state is State.FINISHED


def test_row_32_a_run_that_another_process_has_just_begun_is_not_spoilt(
    worker, make_run, tiny, at_step, tmp_path, wait_for
):
    """It waits in this queue when somebody else takes it: it must not be marked as failed."""
    reached, released = threading.Event(), threading.Event()

    def hold() -> None:
        reached.set()
        assert released.wait(100)

    at_step("first", 1, hold)
    worker.submit(tiny(), "first", tmp_path)
    taken, last = (worker.submit(tiny(), name, tmp_path) for name in ("taken", "last"))
    assert reached.wait(100)
    with Run(taken.path).hold("train.py") as writer:
        writer.begin((State.QUEUED,))
        released.set()
        wait_for(lambda: last.status().state is State.FINISHED, "the run behind it")
        assert taken.status().state is State.RUNNING
        assert taken.status().message == ""
    assert taken.records()[0] == []
