"""A preset as train.py runs it, from several seeds: its accuracy on the test images, and its time.

    python -m bench.accuracy cifar10-jpeg.zip [--preset speedrun] [--seeds 0 1 2] [FLAGS]

Time is that of the whole training, with the validation after each epoch and the test-time
augmentation at the end, and that of its steps alone; reading the data set is part of neither.
Other flags are those of train.py.
Figures are means; their range is beside them.
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
    """Train one seed to the end, in a process of its own."""
    name = f"{args.preset}-{seed}"
    words = ["--preset", args.preset, "--dataset", args.dataset, "--data-root", args.data_root]
    words += [*args.flags, "--seed", seed, "--name", name, "--run-root", root, "--tta"]
    command = [sys.executable, REPOSITORY / "train.py", *words]
    if subprocess.run([str(word) for word in command], stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f"bench.accuracy: the training of seed {seed} failed")
    return Run(root / name)


def seconds_in_steps(run: Run) -> float:
    """By the speeds that were noted at the steps; a last, smaller batch counts as a whole one."""
    seconds, before, batch_size = 0.0, 0, run.config().batch_size
    for record in run.records()[0]:
        if record["kind"] == "step":
            images = (record["step"] - before) * batch_size
            seconds, before = seconds + images / record["images_per_s"], record["step"]
    return seconds


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__, repeats=False)
    parser.add_argument("dataset", help="as train.py takes it")
    parser.add_argument("--preset", choices=PRESETS, default="speedrun")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-root", default="data", help="folder of decoded caches")
    parser.add_argument("--run-root", type=Path, help="keep the runs here (default: throw away)")
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
        "whole time": ("s", [status.seconds for status in ended]),
        "of it in training steps": ("s", in_steps),
    }
    for name, (unit, values) in figures.items():
        yield report.alone(f"{args.preset}: {name}", unit, values, statistics.mean(values))


if __name__ == "__main__":
    sys.exit(main())
