"""Estimated training time: the costs of a network, times this machine's measured speed."""

from __future__ import annotations

import functools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn import functional as F

from engine import contention
from engine.allocator import kept_blocks
from engine.config import ModelConfig, RunConfig
from engine.device import Compute
from engine.fast import accelerate
from engine.files import write_atomic
from engine.models import build_model, build_on_meta
from engine.models.summary import HELD_BYTES, summarize
from engine.training import progressive

COSTS = Path(__file__).parent / "models" / "costs.json"  # made by scripts/write_costs.py
PROBE = "resnet10"  # width 1 has four times the operations of width 1/2, on twice the bytes
PROBE_BATCH, SMALL_BATCH, PROBE_STEPS = 128, 4, 3
BACKWARD = 3  # a training step costs about three forward passes


class Costs(NamedTuple):
    """Costs of a training step, as counted by `engine.models.summary`."""

    macs: float  # multiply-accumulates of one image's forward pass
    bytes: float  # of one image's activations, in fp32
    layers: int


class Speed(NamedTuple):
    """Seconds of a training step per multiply-accumulate and byte of an image, and per layer.

    Convolutions are bound by the first, the layers between them by the second, and steps of few
    images or few channels by the third.
    """

    macs: float
    bytes: float
    layers: float


class Requirements(NamedTuple):
    """Requirements of training a network, known without allocating it."""

    parameters: int
    bytes: int  # of memory, in fp32: weights, gradients, momentum, and one batch's activations
    costs: Costs


@functools.lru_cache(maxsize=256)
def requirements(model: ModelConfig, batch_size: int) -> Requirements:
    """Requirements of a network, computed on the meta device: its weights may not fit into memory.

    Raises ConfigError for an invalid `model`.
    """
    network = build_on_meta(**model.arguments)
    summary = summarize(network, batch_size)
    held = HELD_BYTES * summary.parameters
    return Requirements(summary.parameters, summary.activation_bytes + held, costs(network))


def costs(model: torch.nn.Module) -> Costs:
    """Costs of a network on the CPU or the meta device."""
    summary = summarize(model, PROBE_BATCH)
    return Costs(summary.macs, summary.activation_bytes / PROBE_BATCH, len(summary.layers))


@functools.cache
def architecture_costs() -> dict[str, tuple[int, Costs]]:
    """Parameters and costs of every architecture at width 1, with its own layers, 10 classes.

    From a file: to compute them takes a minute.
    """
    rows = json.loads(COSTS.read_text(encoding="utf-8"))
    return {arch: (parameters, Costs(*row)) for arch, (parameters, *row) in rows.items()}


def measure_speed(compute: Compute) -> Speed:
    """Time a few training steps of two small networks on `compute` and solve for the three costs.

    Occupies the device for some seconds: call it only when nothing is training there. Beside other
    processes the teams of threads wait for each other as they do in a training.
    """
    half, whole = (build_model(PROBE, 10, width=width) for width in (0.5, 1.0))
    with kept_blocks(), contention.relief(compute.device.type == "cpu") as relief:
        relief.settle()
        small = step_seconds(half, SMALL_BATCH, compute)
        large = step_seconds(half, PROBE_BATCH, compute)
        wide = step_seconds(whole, PROBE_BATCH, compute)
    of_half, of_whole = costs(half), costs(whole)

    image = max(0.0, large - small) / (PROBE_BATCH - SMALL_BATCH)
    step = max(0.0, small - SMALL_BATCH * image)
    wide_image = max(0.0, wide - step) / PROBE_BATCH
    more = of_whole.bytes / of_half.bytes
    per_mac = max(0.0, wide_image - more * image) / (of_whole.macs - more * of_half.macs)
    per_byte = max(0.0, image - of_half.macs * per_mac) / of_half.bytes
    return Speed(per_mac, per_byte, step / of_half.layers)


def step_seconds(model: torch.nn.Module, batch_size: int, compute: Compute) -> float:
    """Shortest time of a forward and a backward pass, in seconds."""
    model = model.to(compute.device, memory_format=compute.memory_format).train()
    accelerate(model, compute, training=True)
    images = torch.zeros(batch_size, 3, 32, 32, device=compute.device)
    images = images.contiguous(memory_format=compute.memory_format)
    labels = torch.zeros(batch_size, dtype=torch.long, device=compute.device)

    def step() -> None:
        with compute.autocast():
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        logits.float().sum().item()  # waits for the device

    step()  # warms up
    return min(_seconds(step) for _ in range(PROBE_STEPS))


def _seconds(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def epoch_seconds(
    config: RunConfig, network: Costs, speed: Speed, train_images: int, val_images: int
) -> float:
    """Expected seconds per epoch: training, and validation at a third of the cost per image."""
    steps = math.ceil(train_images / config.batch_size)
    full_images = train_images * (progressive.cost() if config.progressive else 1)
    training = full_images * _image_seconds(network, speed)
    validation = evaluation_seconds(network, speed, val_images)
    return training + validation + steps * network.layers * speed.layers


def evaluation_seconds(network: Costs, speed: Speed, images: int) -> float:
    """Expected seconds of evaluating so many images once."""
    return images * _image_seconds(network, speed) / BACKWARD


def _image_seconds(network: Costs, speed: Speed) -> float:
    """Seconds of a full-size image in a training step, without the step's own."""
    return network.macs * speed.macs + network.bytes * speed.bytes


def load_speed(path: Path, compute: Compute) -> Speed | None:
    """The speed stored for this device, precision, thread count and torch version, if any."""
    return _speeds(path).get(_key(compute))


def store_speed(path: Path, compute: Compute, speed: Speed) -> None:
    """Store a speed beside those of other devices and precisions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({**_speeds(path), _key(compute): speed}), durable=False)


def _speeds(path: Path) -> dict[str, Speed]:
    """The valid speeds in the file; invalid entries are dropped, and so measured again."""
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(stored, dict):
        return {}
    return {key: Speed(*values) for key, values in stored.items() if _is_speed(values)}


def _is_speed(values: object) -> bool:
    if not isinstance(values, list) or len(values) != len(Speed._fields):
        return False
    return all(isinstance(v, float) and 0 <= v < math.inf for v in values) and any(values)


def _key(compute: Compute) -> str:
    described = compute.describe()
    parts = ("device", "device_name", "precision", "threads", "torch")
    return " ".join(str(described[part]) for part in parts)
