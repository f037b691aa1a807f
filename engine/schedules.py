"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from engine.config import OptimConfig, ScheduleConfig

# One-cycle: share of the run that rises, and the first and last rate as parts of the peak.
ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 1 / 25, 1 / 25e4
TRIANGLE_RISE, TRIANGLE_START, TRIANGLE_END = 0.23, 0.2, 0.07  # likewise


def learning_rate(
    schedule: ScheduleConfig, peak: float, step: int, steps_per_epoch: int, epochs: int
) -> float:
    """The learning rate that step `step` (from 0) trains with.

    cosine_annealing: SGDR without restarts (Loshchilov & Hutter, arXiv 1608.03983, eq. 5), to 0 at
    epoch t_max; past it the same formula rises again. multi_step: `peak` times gamma for each
    milestone (in finished epochs) passed. one_cycle: Smith & Topin (arXiv 1708.07120) with cosine
    halves. triangular: straight lines up, then down (Jordan 2024, arXiv 2404.00498). linear: one
    straight line from `peak` to 0. constant: `peak`. Any of them is scaled by a linear warm-up over
    the first `warmup` epochs.
    """
    epoch = step / steps_per_epoch
    if schedule.kind == "cosine_annealing":
        rate = peak * (1 + math.cos(math.pi * epoch / (schedule.t_max or epochs))) / 2
    elif schedule.kind == "multi_step":
        rate = peak * schedule.gamma ** sum(epoch >= m for m in schedule.milestones)
    elif schedule.kind == "one_cycle":
        rate = _one_cycle(peak, step, steps_per_epoch * epochs)
    elif schedule.kind == "triangular":
        rate = peak * _triangle((step + 1) / (steps_per_epoch * epochs))
    elif schedule.kind == "linear":
        rate = peak * (1 - epoch / epochs)
    else:
        rate = peak
    warmup_steps = schedule.warmup * steps_per_epoch
    return rate * min(1.0, (step + 1) / warmup_steps) if warmup_steps else rate


def _one_cycle(peak: float, step: int, steps: int) -> float:
    top = ONE_CYCLE_RISE * steps
    if step < top:
        return _cosine(peak * ONE_CYCLE_START, peak, step / top)
    return _cosine(peak, peak * ONE_CYCLE_END, (step - top) / (steps - top))


def _triangle(share: float) -> float:
    """The part of the peak at this share of the run, 0 to 1."""
    if share < TRIANGLE_RISE:
        return TRIANGLE_START + (1 - TRIANGLE_START) * share / TRIANGLE_RISE
    return 1 - (1 - TRIANGLE_END) * (share - TRIANGLE_RISE) / (1 - TRIANGLE_RISE)


def _cosine(start: float, end: float, share: float) -> float:
    """From `start` to `end` along half a cosine; share from 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def curve(
    schedule: ScheduleConfig, optim: OptimConfig, epochs: int, points: int = 200
) -> list[tuple[float, float]]:
    """(epoch, learning rate) pairs over a whole run, for a preview chart."""
    fine = 1000  # steps an epoch, only for drawing
    steps = [round(i * (epochs * fine - 1) / (points - 1)) for i in range(points)]
    return [(s / fine, learning_rate(schedule, optim.lr, s, fine, epochs)) for s in steps]
