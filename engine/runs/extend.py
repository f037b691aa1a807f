"""Extension of a run: a new run that starts from its last weights, with a schedule of its own."""

from __future__ import annotations

import dataclasses

from engine.config import RunConfig, with_fields
from engine.runs.run import Run, Status


def extension(run: Run, epochs: int) -> RunConfig:
    """The config of a run of `epochs` epochs from the last weights of `run`.

    The schedule of the run is begun afresh, with at most one epoch of warm-up. One of steps ends
    far below its peak, to which there is no way back without losing what was learned: it is
    extended by a cosine from the rate before its last step down, to 0.

    Raises ConfigError if epochs is out of range, RunError if the run is gone.
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
    """How the learning rate of an extension goes, in words."""
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
