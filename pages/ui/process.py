"""State shared by all sessions of a server: the worker, the device, the machine's speed."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from pathlib import Path

from engine import data, estimate, files, runs
from engine.config import RunConfig
from engine.data import own
from engine.data.progress import format_duration
from engine.device import Compute, resolve
from engine.errors import RunError
from engine.presets import PRESETS
from engine.runs import trash
from engine.runs.folder import suggest_name
from engine.runs.run import Run
from engine.studies import bundle
from engine.worker import Worker, get_worker
from pages.ui import folders, readings

_probe = threading.Lock()  # held while the machine's speed is measured


def worker() -> Worker:
    """The process's training worker on the best device here."""
    return get_worker("auto")


def submit(config: RunConfig, suggested: str, base: str | None = None) -> Run:
    """Queue a run under a suggested name, or the next free one if another tab has taken it.

    A run of that name that still trains, with the same config, is returned instead. base: as of
    suggest_name. Raises RunError or ConfigError.
    """
    try:
        return worker().submit(config, suggested, folders.RUN_ROOT)
    except RunError:
        free = suggest_name(folders.RUN_ROOT, config, base)
        if free == suggested:  # refused for another reason
            raise
        return worker().submit(config, free, folders.RUN_ROOT)


def prepare() -> None:
    """One-time tasks at the start of the app. Run in a thread, since they may take seconds."""
    with contextlib.suppress(RunError):
        runs.sweep(folders.RUN_ROOT)
        trash.purge(folders.RUN_ROOT)
    files.sweep(folders.DATA_ROOT / own.FOLDER)
    bundle.sweep(folders.STUDY_ROOT)
    prepare_shapes()


def prepare_shapes() -> None:
    """Draw the built-in images, which takes seconds, before the first Start needs them.

    Errors are dropped: they are reported where the images are used.
    """
    try:
        data.load("shapes", folders.DATA_ROOT)
    except (OSError, ValueError):
        return


def compute_text(precision: str = "auto") -> str:
    """Device and precision that training will use, such as "CPU (…), bf16"."""
    compute = resolve("auto", precision)
    kind = {"cpu": "CPU", "cuda": "NVIDIA GPU", "mps": "Apple GPU"}[compute.device.type]
    return f"{kind} ({compute.describe()['device_name']}), {compute.precision}"


def epoch_seconds(config: RunConfig) -> float | None:
    """Expected seconds of an epoch here; None until this machine's speed is known.

    Raises as readings.split_sizes does.
    """
    return seconds_of(config, estimate.requirements(config.model, config.batch_size).costs)


def test_seconds(config: RunConfig) -> float:
    """Expected seconds of a pass over the test images here; 0 until the speed is known.

    Raises as readings.split_sizes does.
    """
    speed = _speed_of(config)
    if speed is None:
        return 0.0
    costs = estimate.requirements(config.model, config.batch_size).costs
    without = dataclasses.replace(config.data, holdout=0, limit=None)
    images = readings.split_sizes(dataclasses.replace(config, data=without))[1]
    return estimate.evaluation_seconds(costs, speed, images)


def seconds_of(config: RunConfig, costs: estimate.Costs) -> float | None:
    """The same as epoch_seconds, for a network with these costs."""
    speed = _speed_of(config)
    if speed is None:
        return None
    return estimate.epoch_seconds(config, costs, speed, *readings.split_sizes(config))


def _speed_of(config: RunConfig) -> estimate.Speed | None:
    return estimate.load_speed(_speed_file(), resolve(config.device, config.precision))


def first_training() -> str:
    """How long the preset Minute takes: on this machine, once its speed is known."""
    config = PRESETS["minute"].config()
    seconds = epoch_seconds(config)
    if seconds is None:
        return "about a minute on a quiet laptop"
    return f"about {format_duration(max(1.0, seconds * config.epochs))} on this machine"


def measure_speed(config: RunConfig) -> None:
    """Measure this machine's speed in a thread, unless something trains or measures already."""
    if worker().current is None and _probe.acquire(blocking=False):
        compute = resolve(config.device, config.precision)
        threading.Thread(target=_measure, args=(compute,), name="probe", daemon=False).start()


def _measure(compute: Compute) -> None:
    try:
        speed = estimate.measure_speed(compute)
        if worker().current is None:  # a run that started meanwhile distorts the measurement
            estimate.store_speed(_speed_file(), compute, speed)
    finally:
        _probe.release()


def _speed_file() -> Path:
    return folders.RUN_ROOT / ".throughput.json"
