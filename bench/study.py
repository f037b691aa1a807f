"""Cost of a race's turns, time to start a run, and a study's planned against its real time.

Studies of two norms on the built-in shapes, trained by the app's worker. Switching is measured with
turns of one epoch, so that there are many switches; its cost is then told for turns of the length
that the app uses.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench import report
from bench.trainings import wait_until
from engine import data, estimate, turns
from engine.config import RunConfig
from engine.device import resolve
from engine.runs.run import HELD, State
from engine.studies import plan as plans
from engine.studies import run
from engine.studies.study import Factor, Study, Value
from engine.worker import Worker

ONGOING = (State.QUEUED, *HELD)
NORMS = Factor("Norm", tuple(Value(norm, {"model.norm": norm}) for norm in ("batch", "group")))


def study_of(args: argparse.Namespace, epochs: int, race: bool = True) -> Study:
    base = {
        "data.dataset": "shapes",
        "data.root": str(args.data_root),
        "data.limit": args.limit,
        "data.holdout": args.limit,
        "model.arch": args.arch,
        "model.width": args.width,
        "epochs": epochs,
    }
    return Study("bench", "Does the norm matter?", (NORMS,), base, "batch", seeds=(0,), race=race)


def train(study: Study, worker: Worker) -> tuple[float, float]:
    """Train a study; its seconds, and those of all its epochs."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        begin = time.perf_counter()
        run.start(study, root / "studies", root / "runs", worker)
        members = run.members(study, root / "runs")
        wait_until(lambda: not any(m.status().state in ONGOING for m in members), "the study")
        seconds = time.perf_counter() - begin
        if failed := [m.status() for m in members if m.status().state is not State.FINISHED]:
            raise SystemExit(f"a run {failed[0].state}: {failed[0].message}")
        return seconds, sum(e["seconds"] for m in members for e in m.epochs())


def switching(args: argparse.Namespace, worker: Worker) -> Iterator[report.Row]:
    """Runs that change after each epoch, against runs one after another."""
    race, alone, starts = [], [], []
    train(study_of(args, 1), worker)  # warms up
    for _ in range(args.repeats):
        turns.TURN_S, app = 0.0, turns.TURN_S
        race.append(train(study_of(args, args.epochs), worker)[0])
        turns.TURN_S = app
        seconds, trained = train(study_of(args, args.epochs, race=False), worker)
        alone.append(seconds)
        starts.append((seconds - trained) / 2)
    switches = 2 * (args.epochs - 1)  # one after another, there is one change as well
    each = [(mixed - plain) / switches for mixed, plain in zip(race, alone, strict=True)]
    yield report.compare("a turn per epoch, against one after another", "s", race, alone)
    yield report.alone("one switch", "s", each)
    shares = [100 * seconds / turns.TURN_S for seconds in each]
    yield report.alone(f"its share of a turn of {turns.TURN_S:g} s", "%", shares)
    yield report.alone("start and end of a run", "s", starts)


def planning(args: argparse.Namespace, worker: Worker) -> Iterator[report.Row]:
    """A study planned for a time, with a speed measured just before, against its real time."""
    planned, real = [], []
    for _ in range(args.repeats):
        speed = estimate.measure_speed(resolve("cpu"))
        chosen = plans.plan(study_of(args, 100), costs(speed), args.seconds)
        planned.append(chosen.seconds)
        real.append(train(chosen.study, worker)[0])
    yield report.compare("real time against the plan", "s", real, planned)


def costs(speed: estimate.Speed) -> plans.Costs:
    def network(config: RunConfig) -> estimate.Costs:
        return estimate.requirements(config.model, config.batch_size).costs

    return plans.Costs(
        lambda c: estimate.epoch_seconds(c, network(c), speed, *run.sizes(c)),
        lambda c: estimate.evaluation_seconds(network(c), speed, run.count_test_images(c)),
        lambda c: run.sizes(c)[0],
    )


MEASURES = {"switching": switching, "planning": planning}


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    data.load("shapes", args.data_root)  # drawn before anything is timed
    worker = Worker("cpu")
    try:
        for name in args.only:
            yield from MEASURES[name](args, worker)
    finally:
        worker.close()


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES))
    parser.add_argument("--arch", default="resnet10")
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--limit", type=int, default=500, help="images (default 500)")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=20.0, help="of the plan (default 20)")
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    args = parser.parse_args(arguments)
    return report.publish(rows(args), args.json)


if __name__ == "__main__":
    sys.exit(main())
