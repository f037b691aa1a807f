"""The queue on disk: the runs whose state is queued, in the order of Status.queued."""

from __future__ import annotations

import contextlib
import math
import time
from pathlib import Path

from engine.config import SETTINGS, RunConfig, with_fields
from engine.errors import ConfigError, RunError
from engine.runs import folder
from engine.runs.run import HELD, Run, State
from engine.settings import get_field


def queued(root: Path, study: str = "") -> list[Run]:
    """The queued runs under `root`, or of a study, in their order."""
    found = []
    for run in folder.list_runs(root):
        with contextlib.suppress(RunError):
            status = run.status()
            if status.state is State.QUEUED and study in ("", status.study):
                found.append((status.queued, run))
    return [run for _, run in sorted(found, key=lambda pair: pair[0])]


def place(which: str, former: float, waiting: list[Run]) -> tuple[float, int]:
    """A place in the queue: the time of submission that goes with it, and its index.

    which: "first", "last", or "former": that of the time `former`. waiting: the queue, in order.
    """
    times = []
    for run in waiting:
        with contextlib.suppress(RunError):  # deleted
            times.append(run.status().queued)
    if which == "former":
        return former, sum(other < former for other in times)
    if which == "first" and times:
        return math.nextafter(min(times), 0.0), 0
    return time.time(), len(waiting)


def store_order(paths: list[Path]) -> None:
    """Exchange the times of submission, so that queued runs are in this order."""
    times = []
    for path in paths:
        with contextlib.suppress(RunError):  # deleted
            times.append((Run(path).status().queued, path))
    for wanted, (now, path) in zip(sorted(when for when, _ in times), times, strict=True):
        if wanted != now:
            with contextlib.suppress(RunError), Run(path).hold("the app") as writer:
                writer.update(queued=wanted)


def is_live_with(run: Run, config: RunConfig) -> bool:
    """Whether `run` has this config and is still queued, running or waiting for its turn."""
    try:
        if run.status().state not in (State.QUEUED, *HELD):
            return False
        known = run.config()
    except (RunError, ConfigError):
        return False
    # What a form leaves to the data and to the initial weights, a started run knows.
    left = [path for path, setting in SETTINGS.items() if setting.flag is None]
    return with_fields(known, {path: get_field(config, path) for path in left}) == config
