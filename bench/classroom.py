"""Training speed, clicks and memory of a server that many tabs are open on: part of bench.ui.

The tabs are WebSocket clients on all pages of the app. Every one runs its fragments when their time
has come, as a browser does; every fifth clicks through the sidebar.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import random
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from bench import report
from bench.serving import serving
from bench.sessions import Session
from bench.trainings import config_of, measured, stop, wait_until
from engine import runs
from engine.config import RunConfig
from engine.data.shapes import TRAIN_COUNT
from engine.runs.run import Run, State

PAGES = ("", "Train", "Runs", "Studies", "Augmentations", "Classify")
CLICKING = 5  # every fifth tab clicks, …
CLICK_S = (5.0, 15.0)  # … after a time between these
SETTLE_S = 10  # after all tabs have opened
MINUTES = 4  # of training alone; from five minutes on, a run is looked at less often


class Tab(threading.Thread):
    """A tab that is open until `close`. clicks: the times of its clicks, in seconds."""

    def __init__(self, port: int, number: int, run: str, clicking: bool):
        super().__init__(name=f"tab {number}", daemon=True)
        self.clicks: list[tuple[float, float]] = []  # when, and how long it took
        self.ready, self._closed = threading.Event(), threading.Event()
        self._random = random.Random(number)
        self._pages = itertools.cycle(PAGES[number % len(PAGES) :] + PAGES[: number % len(PAGES)])
        self._session = Session(port, next(self._pages), {"run": run})
        self._clicking = clicking

    def run(self) -> None:
        self._session.ask()
        self._session.wait()
        self.ready.set()
        due: dict[str, float] = {}  # when each fragment is to be run again
        click = self._next_click()
        while not self._closed.wait(0.02):
            now = time.monotonic()
            timers = self._session.timers
            due = {name: due.get(name, now + wait) for name, wait in timers.items()}
            if now >= click:
                self._click()
                due, click = {}, self._next_click()
            elif due and now >= min(due.values()):
                name = min(due, key=due.get)
                self._session.ask(name)
                self._session.wait()
                due[name] = now + timers[name]
        self._session.close()

    def close(self) -> None:
        self._closed.set()

    def _next_click(self) -> float:
        wait = self._random.uniform(*CLICK_S) if self._clicking else float("inf")
        return time.monotonic() + wait

    def _click(self) -> None:
        start = time.monotonic()
        self._session.open(next(self._pages))
        self._session.wait()
        self.clicks.append((start, time.monotonic() - start))


def classroom(
    tabs: int, arch: str, repeats: int, seconds: float, folder: Path
) -> Iterator[report.Row]:
    """Rows for `tabs` tabs open on a server that trains `arch`.

    The run that they watch would take MINUTES alone.
    """
    root, config = folder / "classroom", config_of(arch, folder / "data")
    alone, crowded, clicks, memory = [], [], [], []
    with serving(root, folder / "data") as url:
        port = int(url.rsplit(":", 1)[1])
        for number in range(repeats):
            run = start(port, config, root, f"alone-{number}")
            alone.append(measured(run, seconds))
            stop(run)
            epochs = math.ceil(MINUTES * 60 * alone[-1] / TRAIN_COUNT)
            run = start(port, replace(config, epochs=epochs), root, f"watched-{number}")
            opened = open_tabs(port, tabs, run)
            begin = time.monotonic()
            memory.append(resident(run))
            crowded.append(measured(run, seconds))
            memory.append(resident(run))
            for tab in opened:
                tab.close()
            for tab in opened:
                tab.join()
                clicks += [took for when, took in tab.clicks if when >= begin]
            stop(run)
    yield report.compare(f"{arch} with {tabs} open tabs", "images/s", crowded, alone)
    if clicks:
        late = statistics.quantiles(clicks, n=20)[-1] if len(clicks) > 1 else clicks[0]
        yield report.alone(f"click with {tabs} open tabs", "s", clicks)
        yield report.alone(f"click with {tabs} open tabs, 95th percentile", "s", clicks, late)
    yield report.compare("memory of the server, end", "MB", memory[1::2], memory[::2])


def start(port: int, config: RunConfig, root: Path, name: str) -> Run:
    """A run in training, started by the server after a visit to each page."""
    run = runs.create(root, name, config)
    with contextlib.closing(Session(port, "", {})) as visitor:
        for page in (*PAGES, "Train"):  # imports the modules of all pages
            visitor.open(page)
            visitor.wait()
        visitor.ask(continue_queue=True)
        visitor.wait()
    wait_until(lambda: run.status().state is State.RUNNING, "the run to start")
    return run


def open_tabs(port: int, count: int, run: Run) -> list[Tab]:
    opened = [
        Tab(port, i, run.name, i % CLICKING == i // CLICKING % CLICKING) for i in range(count)
    ]
    for tab in opened:
        tab.start()
    for tab in opened:
        tab.ready.wait()
    time.sleep(SETTLE_S)
    return opened


def resident(run: Run) -> float:
    """MB of memory of the process that trains a run. Not on Windows."""
    process = json.loads((run.path / "holder.json").read_text())["pid"]
    output = subprocess.check_output(["ps", "-o", "rss=", "-p", str(process)], text=True)
    return int(output) / 1024
