"""Runs in training, as benchmarks see them: through their files."""

from __future__ import annotations

import time
from pathlib import Path

from engine.config import RunConfig, with_fields
from engine.runs.run import Run, State

TIMEOUT_S = 300


def config_of(arch: str, data_root: Path) -> RunConfig:
    changes = {"model.arch": arch, "data.dataset": "shapes", "data.root": str(data_root)}
    return with_fields(RunConfig(), {**changes, "epochs": 100})


def measured(run: Run, seconds: float) -> float:
    """Images/s of a run in training, measured over `seconds`, after its fifth step."""
    wait_until(lambda: (run.path / "status.json").exists() and run.status().step >= 5, "the run")
    start, begin = next_step(run)
    time.sleep(seconds)
    step, end = next_step(run)
    return (step - start) * run.config().batch_size / (end - begin)


def next_step(run: Run) -> tuple[int, float]:
    """Wait for the next step; the number of steps done, and the time."""
    before = run.status().step
    wait_until(lambda: run.status().step > before, "the next step")
    return run.status().step, time.perf_counter()


def wait_until(condition, what: str) -> None:
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {TIMEOUT_S} s")
        time.sleep(0.02)


def stop(run: Run) -> None:
    run.request("stop")
    wait_until(lambda: run.status().state is not State.RUNNING, "the run to stop")
