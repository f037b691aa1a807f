"""Inspect beside a training: seconds for all predictions, and the speed the training keeps.

First the time of `engine.inspect.predictions` for --images images when nothing trains, without its
cache. Then training steps of the same network in a training thread, alone and while predictions are
computed over and over in turns with them, as ratios of the speed alone. Use a machine that is quiet
otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import torch

from bench import report
from bench.throughput import WARMUPS, Step
from engine import allocator, runs
from engine.config import RunConfig, with_fields
from engine.device import resolve
from engine.inspect.predictions import predict
from engine.models import ARCHITECTURES, build_model
from engine.randomness import keyed_generator
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import Run, State

CLASSES = tuple("abcdefghij")


def finished_run(folder: Path, arch: str, precision: str) -> Run:
    """A finished run of a network with its first weights, as trained on this machine."""
    config = with_fields(RunConfig(), {"model.arch": arch, "model.num_classes": len(CLASSES)})
    run = runs.create(folder, arch, config)
    info = {"name": "noise", "classes": CLASSES, "mean": [0.5] * 3, "std": [0.25] * 3}
    with run.hold("a benchmark") as writer:
        writer.save_config(config, info)
        writer.update(state=State.FINISHED, compute=resolve("auto", precision).describe())
    model = build_model(**config.model.arguments)
    CheckpointStore(run.path, describe_model(config.model)).save(1, model.state_dict(), {})
    return run


def exhaust(steps: Generator[float, None, Any], end: threading.Event | None = None) -> None:
    for _ in steps:
        if end and end.is_set():
            steps.close()


@contextlib.contextmanager
def inspecting(run: Run, images: torch.Tensor) -> Iterator[None]:
    """Context in which a thread computes predictions in turns with a training, without a cache."""
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            with tempfile.TemporaryDirectory() as cache:
                exhaust(predict(run.path, images, Path(cache), busy=lambda: True), end)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def rate(step: Step, seconds: float) -> float:
    """Images/s of steps over that time or a little longer."""
    start, steps = time.perf_counter(), 0
    while (passed := time.perf_counter() - start) < seconds:
        step()
        steps += 1
    return steps * step.batch_size / passed


def measure(args: argparse.Namespace, found: list[report.Row]) -> None:
    draw = keyed_generator(1)
    shape = (args.images, 3, 32, 32)
    images = torch.randint(256, shape, dtype=torch.uint8, generator=draw)
    with tempfile.TemporaryDirectory() as folder, allocator.kept_blocks():
        run = finished_run(Path(folder, "runs"), args.arch, args.precision)
        times, alone, beside = [], [], []
        for repeat in range(args.repeats + 1):
            start = time.perf_counter()
            exhaust(predict(run.path, images, Path(folder, f"cache-{repeat}")))
            times.append(time.perf_counter() - start)
        step = Step(run.config(), args.precision)
        for _ in range(WARMUPS):
            step()
        for _ in range(args.repeats):
            alone.append(rate(step, args.seconds))
            with inspecting(run, images):
                beside.append(rate(step, args.seconds))
    # The first one compiles the loops of a new installation.
    found.append(report.alone(f"{args.arch}, {args.images:,} predictions", "s", times[1:]))
    found.append(report.compare(f"{args.arch}, training beside", "images/s", beside, alone))


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--arch", choices=ARCHITECTURES, default="resnet18")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each window (default 15)")
    args = parser.parse_args(arguments)
    rows: list[report.Row] = []
    allocator.start_thread(lambda: measure(args, rows), "training").join()
    return report.publish(rows, args.json)


if __name__ == "__main__":
    sys.exit(main())
