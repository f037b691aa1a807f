"""Training steps of the app in images/s beside busy processes, as ratios of the quiet speed.

Each network is timed when all is quiet, beside one and beside two processes that never wait, first
as PyTorch runs it, then with `engine.contention`, in a training thread as in the app. All ratios
are to the speed when quiet and without it, of the same repeat. Use a machine that is quiet
otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from bench import report
from bench.throughput import WARMUPS, Step
from engine import allocator, contention
from engine.config import PRECISIONS, RunConfig, with_fields
from engine.device import resolve
from engine.presets import PRESETS

NETWORKS = {
    "minute": PRESETS["minute"].config(),
    "speedrun": PRESETS["speedrun"].config(),
    "resnet18": with_fields(RunConfig(), {"model.arch": "resnet18"}),
}
LOADS = {"quiet": 0, "beside one": 1, "beside two": 2}
SETTLE_S = 4 * contention.READ_EVERY_S  # after which a new load has been noticed


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Context in which `count` processes use the CPU."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def rate(step: Step, seconds: float, relieved: bool) -> float:
    """Images/s of steps over that time or a little longer, once the load has been noticed."""
    with contention.relief(relieved) as watch:
        for window in (SETTLE_S, seconds):
            start, steps = time.perf_counter(), 0
            while (passed := time.perf_counter() - start) < window:
                step()
                watch.check()
                steps += 1
    return steps * step.batch_size / passed


def measure(name: str, precision: str, repeats: int, seconds: float) -> list[report.Row]:
    step = Step(NETWORKS[name], precision)
    rates = {(load, relieved): [] for load in LOADS for relieved in (False, True)}
    with allocator.kept_blocks():
        for _ in range(WARMUPS):
            step()
        for _ in range(repeats):
            for (load, relieved), found in rates.items():
                with busy(LOADS[load]):
                    found.append(rate(step, seconds, relieved))
    quiet = rates["quiet", False]
    return [
        report.compare(
            f"{name} {precision}, {load}, {'after' if relieved else 'before'}",
            "images/s",
            found,
            quiet,
        )
        for (load, relieved), found in rates.items()
    ]


def measure_in_thread(*arguments) -> list[report.Row]:
    rows: list[report.Row] = []
    allocator.start_thread(lambda: rows.extend(measure(*arguments)), "training").join()
    return rows


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        for precision in dict.fromkeys(resolve("cpu", name).precision for name in args.precision):
            for name in args.only:
                task = (name, precision, args.repeats, args.seconds)
                yield from processes.submit(measure_in_thread, *task).result()


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=["auto"])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each window (default 3)")
    args = parser.parse_args(arguments)
    return report.publish(rows(args), args.json)


if __name__ == "__main__":
    sys.exit(main())
