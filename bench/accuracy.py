"""Test accuracy and training time of a preset over several seeds, each trained by train.py.

    python -m bench.accuracy cifar10-jpeg.zip [--preset speedrun] [--seeds 0 1 2] [FLAGS]

Prints means with their range, without a baseline: accuracy with and without test-time augmentation,
in percent; total training time, including validation after each epoch and test-time augmentation at
the end; time of the training steps alone. Loading the data set is not included. FLAGS are those of
train.py.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import report
from engine.presets import PRESETS
from engine.runs.run import Run

REPOSITORY = Path(__file__).resolve().parents[1]


def trained(args: argparse.Namespace, seed: int, root: Path) -> Run:
    """Train one seed in its own process; the finished run."""
    name = f"{args.preset}-{seed}"
    words = ["--preset", args.preset, "--dataset", args.dataset, "--data-root", args.data_root]
    words += [*args.flags, "--seed", seed, "--name", name, "--run-root", root, "--tta"]
    command = [sys.executable, REPOSITORY / "train.py", *words]
    if subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"bench.accuracy: the training of seed {seed} failed")
    return Run(root / name)


def seconds_in_steps(run: Run) -> float:
    """Seconds of the run's steps, from the recorded images/s. Counts every batch as full."""
    seconds, before, batch_size = 0.0, 0, run.config().batch_size
    for record in run.records()[0]:
        if record["kind"] == "step":
            images = (record["step"] - before) * batch_size
            seconds, before = seconds + images / record["images_per_s"], record["step"]
    return seconds


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__, repeats=False)
    parser.add_argument("dataset", help="as --dataset of train.py")
    parser.add_argument("--preset", choices=PRESETS, default="speedrun")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-root", default="data", help="as in train.py")
    parser.add_argument("--run-root", type=Path, help="keep the runs in this folder")
    args, args.flags = parser.parse_known_args(arguments)
    return report.publish(rows(args), args.json)


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    with tempfile.TemporaryDirectory() as temporary:
        root = args.run_root or Path(temporary)
        runs = [trained(args, seed, root) for seed in args.seeds]
        ended = [run.status() for run in runs]
        in_steps = [seconds_in_steps(run) for run in runs]
    figures = {
        "test accuracy": ("%", [100 * status.final_acc for status in ended]),
        "with test-time augmentation": ("%", [100 * status.tta_acc for status in ended]),
        "total time": ("s", [status.seconds for status in ended]),
        "time in training steps": ("s", in_steps),
    }
    for name, (unit, values) in figures.items():
        yield report.alone(f"{args.preset}: {name}", unit, values, statistics.mean(values))


if __name__ == "__main__":
    sys.exit(main())
