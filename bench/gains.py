"""Gain of each replacement of engine/fast: a training step of the app with and without it.

Both are timed alternately in the main thread, in one process for each replacement and network. Only
replacements that this CPU uses in --precision are measured, on networks that they touch. By default
the figures are written to bench/results/KIND.json; KIND is the CPU's instruction set. A replacement
that gains less than 5 % on every kind of CPU is not worth its lines.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from bench import report
from bench.throughput import WARMUPS, Step, config_of
from engine import allocator, fast
from engine.config import PRECISIONS
from engine.device import resolve

RESULTS = Path(__file__).with_name("results")
NETWORKS: dict[str, tuple[dict[str, str], ...]] = {  # replacement: networks that it touches
    "winograd": ({"arch": "resnet18"}, {"arch": "wideresnet14"}, {"arch": "vgg16"}),
    "pointwise": ({"arch": "densenet121"}, {"arch": "convmixer256d16"}),
    "side_by_side": ({"arch": "resnet18"}, {"arch": "vgg16"}),
    "depthwise": ({"arch": "convmixer256d16"},),
    "grouped": ({"arch": "resnext18"},),
    "im2col": ({"arch": "resnet18"}, {"arch": "vgg16"}),
    "group_norm": ({"arch": "resnet18", "norm": "group"},),
    "instance_norm": ({"arch": "resnet18", "norm": "instance"},),
    "elu": ({"arch": "resnet18", "activation": "celu"},),
    "in_place": ({"arch": "resnet18"}, {"arch": "vgg16"}),
    "norm_act": ({"arch": "resnet18"}, {"arch": "vgg16"}, {"arch": "convmixer256d16"}),
    "residual": ({"arch": "resnet18"}, {"arch": "resnext18"}),
    "max_pool": ({"arch": "vgg16"}, {"arch": "speedrun"}),
    "dense": ({"arch": "densenet121"},),
}


def measure(name: str, args: argparse.Namespace, choices: dict[str, str]) -> report.Row:
    """Images/s of the app against the app without the replacement `name`."""
    config = config_of(args.batch_size, **choices)
    steps = [Step(config, args.precision, without) for without in ((), (name,))]
    with allocator.kept_blocks():  # as in a training session
        values, baselines = report.rates(steps, args.batch_size, args.repeats, WARMUPS)
    return report.compare(f"{name}: {' '.join(choices.values())}", "images/s", values, baselines)


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    used = fast.used(resolve("auto", args.precision))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        for name in args.only:
            for choices in NETWORKS[name] if name in used else ():
                yield processes.submit(measure, name, args, choices).result()


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__)
    parser.set_defaults(repeats=5)
    parser.add_argument("--only", nargs="+", choices=fast.NAMES, default=fast.NAMES, metavar="NAME")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    args = parser.parse_args(arguments)
    kind = report.kind(resolve("auto", args.precision).precision)
    args.json = args.json or RESULTS / f"{kind}.json"
    args.json.parent.mkdir(parents=True, exist_ok=True)
    return report.publish(rows(args), args.json)


if __name__ == "__main__":
    sys.exit(main())
