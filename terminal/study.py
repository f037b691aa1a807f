"""`train.py --study`: plan a study, train its runs, print table and sentences."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import re
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from engine import advice, estimate
from engine.config import RunConfig
from engine.data.progress import format_duration
from engine.device import all_of, resolve
from engine.errors import ConfigError
from engine.runs.run import Run, State
from engine.settings import get_field
from engine.studies import bundle, rates, report, run, study
from engine.studies import plan as plans
from engine.studies.plan import Costs, Plan
from engine.studies.published import STUDIES
from engine.studies.study import Study
from engine.worker import get_worker
from terminal.arguments import refuse_unused
from terminal.display import Signals, print_warnings

UNITS = {"s": 1, "min": 60, "h": 3600}
POLL_S = 0.5
ENDED = (
    State.FINISHED,
    State.FAILED,
    State.STOPPED,
    State.PAUSED,
    State.INTERRUPTED,
    State.DAMAGED,
)


def run_study(args: argparse.Namespace, given: dict[str, Any]) -> int:
    """Plan a study and train its runs; the exit code. Raises ConfigError and others."""
    options = {"study", "name", "resume", "plan", "preset", "time", "seeds", "fair_rates"}
    refuse_unused(args, given, "--study", options, given)
    chosen = _read(args, dict(given))
    costs = _costs(args)
    if args.resume:
        chosen = study.load(args.study_root, chosen.name)
        _check_same(chosen, args, given)
        planned = plans.price(chosen, costs)
    else:
        planned = plans.plan(chosen, costs, chosen.seconds)
    print_warnings(_advice(planned.study, given, costs))
    _print_plan(planned, args.run_root)
    if args.plan:
        return 0
    if not args.resume and (args.study_root / chosen.name / study.FILE).exists():
        raise ConfigError("study", f"{chosen.name!r} already exists; --resume continues it")
    return _train(planned.study, args)


def parse_seconds(text: str) -> float:
    """Seconds of a time such as 30min, 90s or 1.5h. Raises ConfigError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h)", text.strip())
    if not match:
        raise ConfigError("time", f"{text!r} is not a time; give one such as 90s, 30min or 1.5h")
    return float(match[1]) * UNITS[match[2]]


def _read(args: argparse.Namespace, given: dict[str, Any]) -> Study:
    """The study that the arguments name, with their time, seeds and settings."""
    if args.study in STUDIES:
        chosen = STUDIES[args.study]
    elif args.study.endswith(".json"):
        chosen = study.read(Path(args.study))
    elif args.resume:
        return study.load(args.study_root, args.study)
    else:
        known = ", ".join(STUDIES)
        raise ConfigError("study", f"{args.study!r} is neither a study ({known}) nor a .json file")
    first = given.pop("seed", chosen.seeds[0])
    changes: dict[str, Any] = {
        "fair_rates": args.fair_rates or chosen.fair_rates,
        "base": {**chosen.base, **given},
    }
    if args.name:
        changes["name"] = args.name
    if args.time:
        changes["seconds"] = parse_seconds(args.time)
    count = len(chosen.seeds) if args.seeds is None else args.seeds
    if (first, count) != (chosen.seeds[0], len(chosen.seeds)):
        changes["seeds"] = tuple(range(first, first + count))
    return dataclasses.replace(chosen, **changes)


def _check_same(chosen: Study, args: argparse.Namespace, given: dict[str, Any]) -> None:
    """Raise ConfigError for arguments that differ from the stored study, which is resumed.

    With --time, the settings were cut to fit it and are not compared.
    """
    if args.seeds not in (None, len(chosen.seeds)):
        told = f"the study has {len(chosen.seeds)}, not {args.seeds}"
        raise ConfigError("seeds", f"{told}; add seeds on the page, or start another study")
    if args.fair_rates and not chosen.fair_rates:
        raise ConfigError("fair-rates", "the study has none; start another study")
    for path, value in {} if args.time else given.items():
        stored = chosen.base.get(path, get_field(RunConfig(), path))
        stored = tuple(stored) if isinstance(stored, list) else stored
        if path not in ("seed", "data.root", "data.url") and stored != value:
            raise ConfigError(path, f"the study has {stored}, not {value}; start another study")


def _advice(chosen: Study, given: dict[str, Any], costs: Costs) -> list[str]:
    """Warnings about the runs of a study; given settings that have an effect in one are used."""
    configs = [chosen.config(row, chosen.seeds[0]) for row in chosen.rows()]
    unused = [set(advice.unused(config, given)) for config in configs]
    found = [w for each in configs for w in advice.warnings(each, costs.images(each))]
    return [*sorted(set.intersection(*unused)), *dict.fromkeys(found)]


def _costs(args: argparse.Namespace) -> Costs:
    """What runs cost on this machine. Its speed is measured and images are counted once."""
    counts = functools.cache(run.image_counts)

    def measured(config: RunConfig) -> tuple[estimate.Costs, estimate.Speed]:
        compute = resolve(config.device, config.precision)
        path = args.run_root / ".throughput.json"  # the file of the app
        speed = estimate.load_speed(path, compute)
        if speed is None:
            print("measuring the speed of this machine", file=sys.stderr)
            speed = estimate.measure_speed(compute)
            estimate.store_speed(path, compute, speed)
        return estimate.requirements(config.model, config.batch_size).costs, speed

    return Costs(
        lambda config: estimate.epoch_seconds(
            config, *measured(config), *run.sizes(config, counts)
        ),
        lambda config: estimate.evaluation_seconds(
            *measured(config), run.count_test_images(config, counts)
        ),
        lambda config: run.sizes(config, counts)[0],
        len(all_of(resolve("auto").device)),
    )


def _print_plan(planned: Plan, run_root: Path) -> None:
    chosen, width = planned.study, max(len(name) for name, _ in planned.rows)
    print(chosen.question)
    for cut in planned.cuts:
        print(cut)
    for name, seconds in planned.rows:
        print(f"  {name:{width}}  {format_duration(seconds)}")
    print(f"  {'all':{width}}  {format_duration(planned.seconds)}, {len(chosen.all_seeds())} seeds")
    root = None if run_root == Path("checkpoints") else str(run_root)
    trained = run.current(chosen)
    if trained is not chosen:
        print("First, to choose the learning rate of each value:")
    for name, row, seed in trained.runs():
        print(trained.config(row, seed).to_command(name, root))


def _train(chosen: Study, args: argparse.Namespace) -> int:
    """Train the runs of a study that are not finished; print what they say."""
    worker, signals = get_worker(chosen.base.get("device", "auto")), Signals()
    with signals, study.hold(args.study_root, chosen.name):
        if not args.resume:
            study.create(chosen, args.study_root)
        problems = run.ask(chosen.name, "resume", args.study_root, args.run_root, worker)
        for problem in problems:
            print(f"train.py: {problem}", file=sys.stderr)
        chosen = study.load(args.study_root, chosen.name)
        _follow(run.displayed(chosen), args.run_root, signals)
        if rates.missing(chosen) and not signals.received:
            run.follow(chosen.name, args.study_root, args.run_root, worker)
            chosen = study.load(args.study_root, chosen.name)
            _follow(run.displayed(chosen), args.run_root, signals)
        worker.close()
    print_verdict(run.current(chosen), args)
    if signals.received:
        print(f"interrupted; to continue, repeat the command with --resume (study {chosen.name})")
        return 128 + signals.received
    states = [each.status().state for each in run.members(chosen, args.run_root)]
    return 1 if problems or State.FAILED in states else 0


def _follow(chosen: Study, run_root: Path, signals: Signals) -> None:
    """Show progress until every run that was submitted has ended or a signal arrives."""
    named = (Run(run_root / name) for name, _, _ in chosen.runs())
    runs = [each for each in named if each.exists()]
    total = len(runs)
    with tqdm(total=total, unit="run", disable=not sys.stderr.isatty()) as bar:
        done: set[str] = set()
        while len(done) < total and not signals.received:
            for each in runs:
                if each.name in done:
                    continue
                status = each.status()
                if status.state in ENDED:
                    done.add(each.name)
                    bar.update()
                    acc = f" {100 * status.final_acc:.2f} %" if status.final_acc is not None else ""
                    tqdm.write(f"{each.name}: {status.state}{acc} {status.message}".rstrip())
                elif status.state is State.RUNNING:
                    bar.set_postfix_str(f"{each.name} epoch {status.epoch}/{status.epochs}")
            time.sleep(POLL_S)


def print_verdict(chosen: Study, args: argparse.Namespace) -> None:
    """Print the table and the sentences of a study, imported results included."""
    found = bundle.outcomes(chosen, args.study_root, args.run_root)
    verdict = report.verdict_of(chosen, found)
    print(report.table(chosen, verdict).to_string(index=False))
    for line in (*verdict.headline, *report.explanation(chosen, verdict), *chosen.footnotes):
        print(line)
