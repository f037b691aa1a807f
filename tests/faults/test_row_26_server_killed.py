"""Row 26 of docs/FAULTS.md: the server is killed during a run."""

import signal
import sys

import pytest

from engine.runs.run import Run, State

pytestmark = [
    pytest.mark.usefixtures("one_thread", "every_step"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]

# What a server process does, as far as its runs can tell.
CODE = """
import time
from pathlib import Path
from engine.config import RunConfig
from engine.training import loop
from engine.worker import get_worker
loop.READ_EVERY_S = 0.0
step = loop.train_step
def slow(*args):
    time.sleep(0.1)
    return step(*args)
loop.train_step = slow
for name in ("running", "waiting"):
    get_worker("cpu").submit(RunConfig.from_json(CONFIG), name, Path(ROOT))
time.sleep(1000)
"""


def test_row_26_the_run_is_interrupted_and_goes_on_and_the_queue_waits(
    tmp_path, python, tiny, worker, wait_for, train_run, make_run, checkpoint_of, same, lasting
):
    config = tiny(epochs=6)
    child = python(CODE, CONFIG=config.to_json(), ROOT=str(tmp_path))
    run, waiting = Run(tmp_path / "running"), Run(tmp_path / "waiting")
    wait_for(lambda: waiting.path.exists() and run.status().step >= 4, "the fourth step")
    assert run.status().state is State.RUNNING
    assert run.is_alive()
    child.process.kill()
    assert child.wait() == -signal.SIGKILL

    assert run.status().state is State.INTERRUPTED
    assert not run.is_alive()
    assert waiting.status().state is State.QUEUED
    assert worker.waiting() == [], "a queue goes on only when it is told to"
    worker.resume(run)
    assert [left.name for left in worker.continue_queue(tmp_path)] == ["waiting"]
    wait_for(lambda: waiting.status().state is State.FINISHED, "the queued run")
    assert run.status().state is State.FINISHED

    whole = make_run("whole", config)
    train_run(whole)
    for ended in (run, waiting):
        assert same(checkpoint_of(ended.path), checkpoint_of(whole.path))
        assert lasting(ended.records()[0]) == lasting(whole.records()[0])
        with ended.hold("somebody else"):
            pass  # nobody holds it any more
