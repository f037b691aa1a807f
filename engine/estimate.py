"""How long a training will take here: multiply-accumulates over this machine's measured rate."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from engine.config import ModelConfig
from engine.device import Compute
from engine.fast import accelerate
from engine.files import write_atomic
from engine.models import build_model
from engine.models.summary import summarize

PROBE = ModelConfig(arch="resnet10", width=0.5)  # 64 million multiply-accumulates an image
PROBE_BATCH, PROBE_STEPS = 128, 3
BACKWARD = 3  # a training step costs about three forward passes


def measure_rate(compute: Compute) -> float:
    """Multiply-accumulates a second of training (forward ones only are counted) on `compute`.

    Takes some seconds of the whole device: call it only when nothing trains there.
    """
    model = build_model(PROBE.arch, 10, width=PROBE.width)
    macs = summarize(model, batch_size=1).macs
    model = model.to(compute.device, memory_format=compute.memory_format).train()
    accelerate(model, compute)
    images = torch.zeros(PROBE_BATCH, 3, 32, 32, device=compute.device)
    images = images.contiguous(memory_format=compute.memory_format)
    labels = torch.zeros(PROBE_BATCH, dtype=torch.long, device=compute.device)
    best = float("inf")
    for _ in range(PROBE_STEPS + 1):  # the first one warms up
        start = time.perf_counter()
        with compute.autocast():
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()
        logits.float().sum().item()  # waits for the device
        best = min(best, time.perf_counter() - start)
    return macs * PROBE_BATCH / best


def epoch_seconds(macs: float, rate: float, train_images: float, val_images: float) -> float:
    """Seconds an epoch is expected to take: its training, and validation at a third of the cost.

    macs: of one image's forward pass. rate: as measure_rate gives it.
    """
    return macs * (train_images + val_images / BACKWARD) / rate


def load_rate(path: Path, compute: Compute) -> float | None:
    """The rate that was stored for this device, precision and version of torch, if any."""
    return _rates(path).get(_key(compute))


def store_rate(path: Path, compute: Compute, rate: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, json.dumps({**_rates(path), _key(compute): rate}), durable=False)


def _rates(path: Path) -> dict[str, float]:
    """What is stored; of a damaged file what can be used, so that it is measured again."""
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(stored, dict):
        return {}
    return {key: r for key, r in stored.items() if isinstance(r, float) and 0 < r < math.inf}


def _key(compute: Compute) -> str:
    described = compute.describe()
    parts = ("device", "device_name", "precision", "threads", "torch")
    return " ".join(str(described[part]) for part in parts)
