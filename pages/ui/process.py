"""What all sessions of a server share: the worker, the device, the machine's measured speed."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from typing import Any

import streamlit as st

from engine import data, estimate
from engine.config import ModelConfig, RunConfig
from engine.device import Compute, resolve
from engine.estimate import Costs
from engine.models import build_on_meta
from engine.models.summary import summarize
from engine.training import progressive
from engine.worker import Worker, get_worker
from pages.ui import folders, readings

_probe = threading.Lock()  # held while the machine's speed is measured


def worker() -> Worker:
    """The process's training worker on the best device here."""
    return get_worker("auto")


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


@st.cache_data(max_entries=128, show_spinner=False)
def model_costs(model: ModelConfig, batch_size: int) -> dict[str, Any]:
    """Parameters, bytes that training a batch takes, and what a step costs."""
    network = build_on_meta(**model.arguments)  # a link may ask for more weights than memory
    summary = summarize(network, batch_size)
    # weights, gradients and momentum, in fp32
    held = 3 * 4 * summary.parameters
    return {
        "parameters": summary.parameters,
        "bytes": summary.activation_bytes + held,
        "step": estimate.costs(network),
    }


def epoch_seconds(config: RunConfig, network: Costs) -> float | None:
    """Estimated seconds of an epoch here; None until this machine's speed is known.

    Raises as readings.data_sizes does.
    """
    compute = resolve(config.device, config.precision)
    speed = estimate.load_speed(_speed_file(), compute)
    if speed is None:
        return None
    train, test = readings.data_sizes(config)
    steps = math.ceil(train / config.batch_size)
    if config.progressive:
        train *= progressive.cost()
    return estimate.epoch_seconds(network, speed, steps, train, config.data.holdout or test)


def measure_speed(config: RunConfig) -> None:
    """Measure this machine's speed in a thread, unless something trains or measures already."""
    if worker().current is None and _probe.acquire(blocking=False):
        compute = resolve(config.device, config.precision)
        threading.Thread(target=_measure, args=(compute,), name="probe", daemon=False).start()


def _measure(compute: Compute) -> None:
    try:
        speed = estimate.measure_speed(compute)
        if worker().current is None:  # a training that began meanwhile distorts the figure
            estimate.store_speed(_speed_file(), compute, speed)
    finally:
        _probe.release()


def _speed_file() -> Path:
    return folders.RUN_ROOT / ".throughput.json"
