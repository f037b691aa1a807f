"""Row 29 of docs/FAULTS.md: one process of torchrun dies."""

import os
import signal
import sys
from pathlib import Path

import pytest

import train
from engine.runs.run import Run, State

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="finds ranks in Linux's /proc"),
    pytest.mark.slow,
]
EPOCHS = 60  # of 3 steps: some seconds
LONG = ("--name", "long", "--norm", "group", "-e", EPOCHS)


def process_of(launcher, rank: int) -> int:
    """The process id of a rank that `launcher` started."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = (path / "stat").read_text().rpartition(")")[2].split()[1]
            environment = (path / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if parent == str(launcher.pid) and f"RANK={rank}".encode() in environment:
            return int(path.name)
    raise AssertionError(f"rank {rank} is not running")


def is_past(run: Run, step: int) -> bool:
    return (run.path / "status.json").exists() and run.status().step >= step


@pytest.mark.parametrize("rank", [0, 1])
def test_row_29_a_killed_rank_is_started_again_from_the_checkpoint(
    rank, torchrun, tiny_args, tmp_path, wait_for
):
    run = Run(tmp_path / "long")
    launcher = torchrun(*tiny_args(tmp_path, *LONG), options=("--max-restarts=1",))
    wait_for(lambda: is_past(run, 30), "the training")
    os.kill(process_of(launcher, rank), signal.SIGKILL)
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, errors
    assert run.status().state is State.FINISHED
    epochs = [r["epoch"] for r in run.records()[0] if r["kind"] == "epoch"]
    assert epochs == list(range(1, EPOCHS + 1))
    starts = [line for line in run.log().splitlines() if "starting at step" in line]
    assert len(starts) == 2
    assert "starting at step 0 of" in starts[0]
    assert "starting at step 0 of" not in starts[1]
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["long"]


def test_row_29_a_signal_saves_and_another_number_of_processes_is_said(
    torchrun, tiny_args, tmp_path, wait_for, capsys
):
    run = Run(tmp_path / "long")
    launcher = torchrun(*tiny_args(tmp_path, *LONG))
    wait_for(lambda: is_past(run, 30), "the training")
    launcher.send_signal(signal.SIGTERM)
    launcher.communicate(timeout=120)
    status = run.status()
    assert status.state is State.INTERRUPTED
    assert not status.message
    assert (run.path / "resume" / str(status.step)).exists()

    words = ["--name", "long", "--run-root", str(tmp_path), "--resume", "--device", "cpu"]
    assert train.main(words) == 0
    assert "trained by 2 processes before, by 1 now" in capsys.readouterr().out
    assert run.status().state is State.FINISHED


def test_row_29_a_restart_takes_up_no_run_that_was_there_before(torchrun, tiny_args, tmp_path):
    """A taken name is a mistake at the first start, and still one after torchrun's next try."""
    words = tiny_args(tmp_path, "--name", "long", "-e", 1)
    assert train.main(words) == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "long").iterdir()}
    launcher = torchrun(*words, "--lr", 0.5, options=("--max-restarts=1",))
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    told = [line for line in errors.splitlines() if line.startswith("train.py: ")]
    assert len(told) == 2
    assert all("'long'" in line for line in told)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "long").iterdir()} == before


def test_row_29_a_mistake_is_told_once(torchrun, tiny_args, tmp_path):
    launcher = torchrun(*tiny_args(tmp_path, "--name", "long", "-b", 1))
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    told = [line for line in errors.splitlines() if line.startswith("train.py: ")]
    assert told == ["train.py: --batch-size: 1 images cannot be split over 2 processes"]
    assert not (tmp_path / "long").exists()


PATCHED = """
import train
from engine.runs.checkpoint import CheckpointStore
from engine.training import loop

step, save = loop.train_step, CheckpointStore.save

def failing_step(setup, network, state, indices):
    if state.position.step == 10 and setup.group.is_main:
        raise MemoryError("bad_alloc")
    return step(setup, network, state, indices)

def failing_save(self, number, *parts):
    if number:
        raise OSError(28, "No space left on device")
    save(self, number, *parts)

{patch}
raise SystemExit(train.main())
"""


@pytest.fixture
def told(torchrun, tiny_args, tmp_path):
    """told("x = y") is what is said when a training is patched so that rank 0 alone fails."""

    def run(patch: str) -> list[str]:
        program = tmp_path / "patched.py"
        program.write_text(PATCHED.format(patch=patch))
        words = tiny_args(tmp_path / "runs", "--name", "short", "--norm", "group", "-e", 20)
        launcher = torchrun(*words, program=program)
        _, errors = launcher.communicate(timeout=120)
        assert launcher.returncode == 1
        assert Run(tmp_path / "runs" / "short").status().state is State.FAILED
        return [line for line in errors.splitlines() if line.startswith("train.py: ")]

    return run


def test_row_29_rank_0_that_alone_fails_in_a_step_is_not_waited_for(told):
    """The others wait for its gradients, and would not hear anything that it tells them."""
    lines = told("loop.train_step = failing_step")
    assert any("run 'short' failed: out of memory: try a smaller" in line for line in lines)


def test_row_29_the_others_leave_quietly_when_rank_0_cannot_save(told):
    lines = told("CheckpointStore.save = failing_save")
    (line,) = lines
    assert line.startswith("train.py: run 'short' failed: ")
    assert "No space left on device; free some space" in line
