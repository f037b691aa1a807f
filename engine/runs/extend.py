"""Extension of a run: a new run from its last weights, with a new schedule."""

from __future__ import annotations

import dataclasses

from engine.config import RunConfig, with_fields
from engine.runs.run import Run, Status


def extension(run: Run, epochs: int) -> RunConfig:
    """The config of a run of `epochs` epochs from the last weights of `run`.

    The schedule restarts, with at most one epoch of warm-up. A multi_step schedule ends far below
    its peak, and training at the peak again would undo what was learned; it is extended by cosine
    annealing to 0 from the rate before its last milestone.

    Raises ConfigError if epochs is out of range, RunError if the run does not exist.
    """
    config, status = run.config(), run.status()
    schedule = dataclasses.replace(
        config.schedule, milestones=(), t_max=None, warmup=min(config.schedule.warmup, 1)
    )
    rate = config.optim.lr
    if schedule.kind == "multi_step":
        rate = _rate_before_last_step(config, status)
        schedule = dataclasses.replace(schedule, kind="cosine_annealing")
    return with_fields(
        config,
        {
            "schedule": dataclasses.asdict(schedule),
            "optim.lr": rate,
            "epochs": epochs,
            "pretrained": run.name,
        },
    )


def describe_schedule(config: RunConfig) -> str:
    """Description of an extension's learning rate schedule."""
    peak, kind = f"{config.optim.lr:g}", config.schedule.kind
    words = {
        "cosine_annealing": f"a cosine from {peak} to 0",
        "one_cycle": f"one cycle with its peak at {peak}",
        "triangular": f"a triangle with its peak at {peak}",
        "linear": f"linear from {peak} to 0",
        "constant": f"constant at {peak}",
    }
    warmup = config.schedule.warmup
    unit = "epoch" if warmup == 1 else "epochs"
    after = f", after {warmup:g} {unit} of warm-up" if warmup else ""
    return f"{words[kind]}{after}"


def _rate_before_last_step(config: RunConfig, status: Status) -> float:
    """The learning rate before the last milestone that the run has passed."""
    done = config.epochs * status.step / status.steps if status.steps else 0.0
    passed = sum(milestone < done for milestone in config.schedule.milestones)
    return config.optim.lr * config.schedule.gamma ** max(0, passed - 1)
