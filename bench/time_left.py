"""Estimates of the time left against the truth, over whole trainings of this machine.

Each network is trained on the built-in shapes, when all is quiet and beside a process that never
waits for the first or the second half of the steps. The times of its steps, validations and
checkpoints are then replayed through the app's estimate. Printed are estimate / truth once a tenth
of the time has passed, and the largest and smallest after it, up to 95 %. `--record FOLDER` writes
the times to files. Use a machine that is quiet otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench import report
from bench.contention import busy
from engine import allocator, contention
from engine.config import RunConfig, with_fields
from engine.data.batches import Splits
from engine.models import build_model
from engine.presets import PRESETS
from engine.runs.checkpoint import CheckpointStore
from engine.training.loop import READ_EVERY_S, Trainer
from engine.training.meter import Meter
from engine.training.pace import Pace
from engine.training.prepare import Prepared, prepare
from engine.training.state import Position
from engine.training.step import Setup, StepMetrics

SHAPES = {"data.dataset": "shapes"}
CHANGES: dict[str, dict[str, Any]] = {  # from the defaults
    "minute": PRESETS["minute"].values,
    "resnet18": {**SHAPES, "model.arch": "resnet18", "data.limit": 2_000, "epochs": 4},
    "speedrun": {
        **PRESETS["speedrun"].values,
        **SHAPES,
        **{"data.limit": 4_000, "batch_size": 500, "epochs": 6},
    },
}
LOADS = {"steady": None, "busy at first": True, "busy at the end": False}
FROM, TO = 0.1, 0.95  # shares of the time


class Estimate(NamedTuple):
    """One estimate of the time left."""

    share: float  # of the run's time that has passed
    ratio: float  # estimate / truth
    settled: bool


class Recorder(Meter):
    """A meter that keeps the times it measures, in segments.

    A segment is {"steps": seconds of each step, "overhead": seconds after them, "ends_epoch"}.
    """

    def start(self) -> None:
        super().start()
        self.segments: list[dict[str, Any]] = []
        self._marked, self._steps = self.last_read, []
        self.pace.end_epoch = self._end_epoch

    def add(self, metrics: StepMetrics) -> None:
        super().add(metrics)
        self._steps.append(self._since_mark())

    def exclude_time(self) -> None:
        super().exclude_time()
        segment = {"steps": self._steps, "overhead": self._since_mark(), "ends_epoch": False}
        self.segments.append(segment)
        self._steps = []

    def _end_epoch(self) -> None:
        Pace.end_epoch(self.pace)
        self.segments[-1]["ends_epoch"] = True

    def _since_mark(self) -> float:
        now = self.clock()
        seconds, self._marked = round(now - self._marked, 5), now
        return seconds


def record(changes: dict[str, Any], busy_first: bool | None, folder: Path) -> dict[str, Any]:
    """Train, and return the config, the numbers of images and the segments of a Recorder.

    changes: of the default config. busy_first: in which half another process is busy; None: never.
    """
    config = with_fields(RunConfig(), {**changes, "data.root": str(folder / "data")})
    found: list[dict[str, Any]] = []

    def work() -> None:
        with allocator.kept_blocks(), tempfile.TemporaryDirectory(dir=folder) as place:
            prepared = prepare(config, Path(place))
            found.append(train(prepared, busy_first, Path(place)))

    allocator.start_thread(work, "training").join()
    return {"config": changes, **found[0]}


def train(prepared: Prepared, busy_first: bool | None, place: Path) -> dict[str, Any]:
    model = build_model(**prepared.config.model.arguments, seed=prepared.config.seed)
    trainer = Trainer(
        prepared.config,
        prepared.splits,
        prepared.pipeline,
        model,
        prepared.compute,
        CheckpointStore(place, prepared.header),
    )
    trainer.meter = meter = Recorder(trainer.setup, trainer.state)
    with contention.relief(True) as relief, contextlib.ExitStack() as beside:
        is_busy = False
        for _ in trainer.fit():
            half = trainer.state.position.step < trainer.setup.steps / 2
            wanted = busy_first is not None and half == busy_first
            if wanted and not is_busy:
                beside.enter_context(busy(1))
            elif is_busy and not wanted:
                beside.close()
            is_busy = wanted
            relief.check()
    counts = {"train": len(prepared.splits.train_images), "val": len(prepared.splits.val_images)}
    return {"images": counts, "segments": meter.segments}


def replay(recording: dict[str, Any]) -> list[Estimate]:
    """The estimates that the app would have shown during a recorded training."""
    config = with_fields(RunConfig(), recording["config"])
    images = [torch.empty(n, 3, 32, 32, device="meta") for n in recording["images"].values()]
    splits = Splits(images[0], None, images[1], None, val_is_test=False)
    setup, position = Setup(config, splits, None, None), Position()
    now, seen = 0.0, []
    meter = Meter(setup, argparse.Namespace(position=position), lambda: now)

    def look(phase: str) -> None:
        progress = meter.progress(phase)
        if progress.eta_seconds is not None:
            seen.append((now, progress.eta_seconds, progress.eta_settled))

    for segment in recording["segments"]:
        for seconds in segment["steps"]:
            now += seconds
            position.step += 1
            begun = (position.step - 1) % setup.steps_per_epoch * config.batch_size
            count = min(config.batch_size, recording["images"]["train"] - begun)
            meter.add(StepMetrics(position.step, count, 0.1, torch.zeros(2)))
            if now - meter.last_read >= READ_EVERY_S:
                meter.read()
                look("training")
        meter.read()
        for _ in range(10):
            now += segment["overhead"] / 10
            look("validating")
        position.epochs_done += segment["ends_epoch"]
        meter.exclude_time()
        if segment["ends_epoch"]:
            meter.pace.end_epoch()
    return [
        Estimate(at / now, left / (now - at), settled) for at, left, settled in seen if at < now
    ]


def judged(estimates: list[Estimate]) -> list[Estimate]:
    """The estimates from a tenth of the time on."""
    return [estimate for estimate in estimates if FROM <= estimate.share <= TO]


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.only:
            for load in args.loads:
                changes, recordings = CHANGES[name] | args.changes, []
                for _ in range(args.repeats):
                    recordings.append(record(changes, LOADS[load], Path(temporary)))
                if args.record:
                    keep(recordings[-1], args.record / f"{name}-{load.replace(' ', '-')}.json")
                yield from rows_of(f"{name}, {load}", recordings)


def rows_of(label: str, recordings: list[dict[str, Any]]) -> Iterator[report.Row]:
    ratios = [[each.ratio for each in judged(replay(recording))] for recording in recordings]
    for name, choose in (("after a tenth", lambda r: r[0]), ("largest", max), ("smallest", min)):
        yield report.alone(f"{label}: {name}", "of the truth", [choose(r) for r in ratios])


def keep(recording: dict[str, Any], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"machine": report.machine(), **recording}) + "\n")


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=CHANGES, default=list(CHANGES))
    parser.add_argument("--loads", nargs="+", choices=LOADS, default=list(LOADS))
    parser.add_argument("--record", type=Path, metavar="FOLDER", help="keep the last times there")
    parser.add_argument(
        "--changes", type=json.loads, default={}, help="of the config, as JSON: {field: value}"
    )
    args = parser.parse_args(arguments)
    return report.publish(rows(args), args.json)


if __name__ == "__main__":
    sys.exit(main())
