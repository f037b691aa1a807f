"""Training speed under the app, and response times of its pages, in a headless Chromium.

    python -m bench.ui [--only training switches lists]
    python -m bench.ui --tabs 50

training: images/s of a run trained by the server with one live tab open, against the same run from
the command line, alternately. switches: seconds from a click in the sidebar until the new page is
drawn and no script is running, while a run trains on all cores. lists: seconds from that click to
the table of 1,000 runs, and from selecting 20 of them to their curves of 250 epochs. The last two
have no baseline. Requires requirements-dev.txt and Chromium.

--tabs N instead: images/s of a run trained by the server with N tabs open, against the same run
before they were opened; times of clicks in the sidebar; memory of the server at the end, against
that once all tabs were open. Requires neither Chromium nor a browser.
"""

from __future__ import annotations

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page

from bench import report
from bench.classroom import classroom
from bench.serving import READY, REPOSITORY, browsing, serving, wait_drawn
from bench.trainings import config_of, measured, stop, wait_until
from engine import runs
from engine.config import RunConfig, with_fields
from engine.runs.run import Run, State

PARTS = ("training", "switches", "lists")
PAGES = ("Runs", "Augmentations", "Classify", "Train")
EPOCHS, OVERLAID = 250, 20
SIZE = {"width": 1400, "height": 1000}
TABLE = "[class*='st-key-runs_table'] canvas"
SELECT_ALL = (18, 18)  # pixels from the table's corner to its select-all checkbox


def from_terminal(config: RunConfig, root: Path, name: str, seconds: float) -> float:
    words = shlex.split(config.to_command(name))[1:]
    command = [sys.executable, *words, "--run-root", str(root)]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    try:
        rate = measured(Run(root / name), seconds)
        stop(Run(root / name))
        return rate
    finally:
        process.terminate()
        process.wait()


def start_in_app(page: Page, url: str, config: RunConfig, root: Path, name: str) -> Run:
    """Queue a run and continue the queue on the Train page, as after a restart of the server."""
    run = runs.create(root, name, config)
    page.goto(f"{url}/Train")
    page.locator(".st-key-continue_queue button").click()
    wait_until(lambda: run.status().state is State.RUNNING, "the run to start")
    return run


def training(arch: str, repeats: int, seconds: float, folder: Path) -> list[report.Row]:
    config = config_of(arch, folder / "data")
    root = folder / "training"
    live, terminal = [], []
    with serving(root, folder / "data") as url, browsing() as browser:
        page = browser.new_page(viewport=SIZE)
        for number in range(repeats):
            terminal.append(from_terminal(config, root, f"terminal-{number}", seconds))
            run = start_in_app(page, url, config, root, f"live-{number}")
            page.goto(f"{url}/Train")
            page.wait_for_selector(".st-key-live_accuracy", timeout=60_000)
            live.append(measured(run, seconds))
            stop(run)
            page.goto("about:blank")  # otherwise it polls the next run of the command line
    return [report.compare(f"{arch} with one live tab", "images/s", live, terminal)]


def switches(arch: str, count: int, folder: Path) -> list[report.Row]:
    config, root = config_of(arch, folder / "data"), folder / "switches"
    times = []
    with serving(root, folder / "data") as url, browsing() as browser:
        page = browser.new_page(viewport=SIZE)
        run = start_in_app(page, url, config, root, "busy")
        wait_until(lambda: run.status().step >= 2, "the first steps")
        page.wait_for_selector(READY)
        for number in range(count + len(PAGES)):  # the first round loads the pages' modules
            name = PAGES[number % len(PAGES)]
            start = time.perf_counter()
            page.locator(f"[data-testid=stSidebarNavLink]:has-text('{name}')").click()
            wait_drawn(page, "h1", name)
            if number >= len(PAGES):
                times.append(time.perf_counter() - start)
        stop(run)
    late = statistics.quantiles(times, n=20)[-1]
    return [
        report.alone("page switch while training", "s", times),
        report.alone("page switch while training, 95th percentile", "s", times, late),
    ]


def write_run(root: Path, name: str, epochs: int, lr: float) -> None:
    changes = {"model.num_classes": 10, "optim.lr": lr}
    run = runs.create(root, name, with_fields(RunConfig(), changes))
    rows = [
        {
            **{"kind": "epoch", "epoch": epoch, "step": 391 * epoch, "lr": 0.1, "seconds": 9.0},
            **{"train_loss": 2 / epoch, "train_acc": 1 - 1 / epoch},
            **{"val_loss": 2.1 / epoch, "val_acc": 0.95 - 0.9 / epoch},
        }
        for epoch in range(1, epochs + 1)
    ]
    steps = [
        {
            **{"kind": "step", "step": step, "epoch": 1 + step // 391, "lr": 0.1},
            **{"loss": 2 / (1 + step), "acc": 0.5, "images_per_s": 200.0},
        }
        for step in range(0, 391 * epochs, 20)
    ]
    with run.hold("bench") as writer:
        writer.append(steps + rows)
        last = rows[-1]["val_acc"]
        done = {"final_acc": last, "best_acc": last, "best_epoch": epochs, "epochs": epochs}
        writer.update(state=State.FINISHED, epoch=epochs, **done)


def lists(count: int, repeats: int, folder: Path) -> list[report.Row]:
    root, long = folder / "lists", min(OVERLAID, count)
    for number in range(count):
        kind, epochs = ("long", EPOCHS) if number < long else ("short", 2)
        write_run(root, f"{kind}-{number:04}", epochs, lr=0.1 + number / 1000)
    listed, overlaid = [], []
    with serving(root, folder / "data") as url, browsing() as browser:
        page = browser.new_page(viewport=SIZE)
        for number in range(repeats + 1):  # the first time loads the modules
            times = list_and_overlay(page, url)
            if number:
                listed.append(times[0])
                overlaid.append(times[1])
    return [
        report.alone(f"list of {count:,} runs", "s", listed),
        report.alone(f"{long} of them overlaid over {EPOCHS} epochs", "s", overlaid),
    ]


def list_and_overlay(page: Page, url: str) -> tuple[float, float]:
    """Seconds from a click on Runs to the table, and from selecting rows to their curves."""
    page.goto(url)
    page.wait_for_selector(READY, timeout=60_000)
    start = time.perf_counter()
    page.locator("[data-testid=stSidebarNavLink]:has-text('Runs')").click()
    wait_drawn(page, TABLE)
    listed = time.perf_counter() - start
    page.get_by_label("Filter").fill("long")
    page.get_by_label("Filter").press("Enter")
    page.wait_for_timeout(2_000)  # until the filtered table is drawn
    corner = page.locator(TABLE).first.bounding_box()
    start = time.perf_counter()
    page.mouse.click(corner["x"] + SELECT_ALL[0], corner["y"] + SELECT_ALL[1])
    wait_drawn(page, ".st-key-compare_chart :is(canvas, svg)")
    return listed, time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--seconds", type=float, default=20, help="of training, each time")
    parser.add_argument("--switches", type=int, default=40)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--tabs", type=int, default=0, help="open that many tabs, nothing else")
    args = parser.parse_args(arguments)
    return report.publish(rows(args), args.json)


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if args.tabs:
            yield from classroom(args.tabs, args.arch, args.repeats, args.seconds, folder)
            return
        parts = {
            "training": lambda: training(args.arch, args.repeats, args.seconds, folder),
            "switches": lambda: switches(args.arch, args.switches, folder),
            "lists": lambda: lists(args.runs, args.repeats, folder),
        }
        for part in args.only:
            yield from parts[part]()


if __name__ == "__main__":
    sys.exit(main())
