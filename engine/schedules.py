"""Learning-rate schedules as pure functions of the step."""

from __future__ import annotations

import math

from engine.recipe import OptimConfig, ScheduleConfig

# Fraction of the steps in which the rate rises; first and last rate, relative to the peak.
ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 1 / 25, 1 / 25e4
TRIANGLE_RISE, TRIANGLE_START, TRIANGLE_END = 0.23, 0.2, 0.07


def learning_rate(
    schedule: ScheduleConfig, peak: float, step: int, steps_per_epoch: int, epochs: int
) -> float:
    """Learning rate of `step`, counted from 0. `peak`: the configured learning rate, above 0.

    With t = step / steps_per_epoch, in epochs, and T = epochs:

    - constant: peak.
    - linear: peak · (1 - t / T).
    - cosine_annealing: peak · (1 + cos(π · t / t_max)) / 2; t_max is T if None. Loshchilov and
      Hutter 2016, "SGDR", arXiv 1608.03983, equation 5, without restarts: past t_max the rate
      rises again.
    - multi_step: peak · gamma^(number of milestones ≤ t). He et al. 2015, arXiv 1512.03385.
    - one_cycle: from peak / 25 to peak over the first 30 % of the steps, then toward
      peak / 250,000, which a step after the last would have, both along half a cosine. Smith and
      Topin 2017, "Super-Convergence", arXiv 1708.07120.
    - triangular: linear from 0.2 · peak to peak over the first 23 % of the steps, then linear to
      0.07 · peak. Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", arXiv 2404.00498.

    Each is multiplied by min(1, (step + 1) / warmup steps), a linear warm-up over the first
    `warmup` epochs. Goyal et al. 2017, arXiv 1706.02677, section 2.2.
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


def rising_epochs(schedule: ScheduleConfig, epochs: int) -> float:
    """Epochs until the learning rate has reached its peak."""
    rise = {"one_cycle": ONE_CYCLE_RISE, "triangular": TRIANGLE_RISE}.get(schedule.kind, 0.0)
    return max(schedule.warmup, rise * epochs)


def _one_cycle(peak: float, step: int, steps: int) -> float:
    top = ONE_CYCLE_RISE * steps
    if step < top:
        return _cosine(peak * ONE_CYCLE_START, peak, step / top)
    return _cosine(peak, peak * ONE_CYCLE_END, (step - top) / (steps - top))


def _triangle(fraction: float) -> float:
    """Rate relative to the peak, after this fraction of the steps, 0 to 1."""
    if fraction < TRIANGLE_RISE:
        return TRIANGLE_START + (1 - TRIANGLE_START) * fraction / TRIANGLE_RISE
    return 1 - (1 - TRIANGLE_END) * (fraction - TRIANGLE_RISE) / (1 - TRIANGLE_RISE)


def _cosine(start: float, end: float, fraction: float) -> float:
    """Interpolate from `start` to `end` along half a cosine; fraction: 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * fraction)) / 2


def curve(
    schedule: ScheduleConfig, optim: OptimConfig, epochs: int, points: int = 200
) -> list[tuple[float, float]]:
    """`points` pairs (epoch, learning rate) over a run of `epochs` epochs, for a preview chart."""
    per_epoch = 1000  # steps; the resolution of the chart, not that of a run
    steps = [round(i * (epochs * per_epoch - 1) / (points - 1)) for i in range(points)]
    return [(s / per_epoch, learning_rate(schedule, optim.lr, s, per_epoch, epochs)) for s in steps]
