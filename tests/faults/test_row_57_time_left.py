"""Row 57 of docs/FAULTS.md: the time left, on steady and on busy machines."""

import itertools
import json
import random
import statistics
from pathlib import Path

import pytest
import torch

from bench import time_left
from engine.training.meter import Meter
from engine.training.pace import Pace
from engine.training.step import StepMetrics

READ_EVERY_S = 0.25
# Times of the preset Minute, by `python -m bench.time_left --only minute --record FOLDER`.
RECORDED = Path(__file__).parents[1] / "fixtures" / "times"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def simulate(make_trainer, tiny):
    """simulate(seconds of a step, of a validation): estimates of a run of 10 epochs of 12 steps.

    seconds: a function of the share of steps done. An estimate is (share of the time that has
    passed, estimate / truth, whether it is settled).
    """

    def run(seconds, validation=1.7, checkpoint=0.3, **changes):
        config = tiny(**{"batch_size": 4, "epochs": 10, **changes})
        trainer, clock = make_trainer(config=config), Clock()
        meter = Meter(trainer.setup, trainer.state, clock)
        position, steps = trainer.state.position, trainer.setup.steps
        seen = []
        for _ in range(config.epochs):
            for _ in range(trainer.setup.steps_per_epoch):
                clock.now += seconds(position.step / steps)
                position.step += 1
                values = torch.tensor([2.0, 0.5])
                meter.add(StepMetrics(position.step, images=4, lr=0.1, values=values))
                if clock.now - meter.last_read >= READ_EVERY_S:
                    meter.read()
                    seen.append((clock.now, meter.progress("training")))
            meter.read()
            for _ in range(10):  # batches of validation
                clock.now += validation / 10
                seen.append((clock.now, meter.progress("validating")))
            position.epochs_done += 1
            meter.exclude_time()
            meter.pace.end_epoch()
            clock.now += checkpoint
            meter.exclude_time()
            seen.append((clock.now, meter.progress("training")))
        end = clock.now
        return [
            (now / end, progress.eta_seconds / (end - now), progress.eta_settled)
            for now, progress in seen
            if now < end
        ]

    return run


SPREAD = random.Random(0)


def jitter(share: float) -> float:
    """Seconds of a step that varies by half."""
    return SPREAD.uniform(0.5, 1.5)


def with_a_slow_start(share: float) -> float:
    return 6.0 if share == 0 else jitter(share)


@pytest.mark.parametrize("seconds", [jitter, with_a_slow_start])
@pytest.mark.parametrize("validation", [0.5, 1.7, 3.0])  # 20 images; a guess would be 1.7
def test_row_57_after_a_tenth_the_estimate_is_within_a_quarter(simulate, seconds, validation):
    ratios = [(at, r) for at, r, _ in simulate(seconds, validation) if 0.1 <= at < 0.95]
    assert len(ratios) > 100
    for at, ratio in ratios:
        assert 0.75 < ratio < 1.25, at


def test_row_57_a_validation_that_takes_most_of_the_time_is_known_after_the_first(simulate):
    ratios = [(at, r) for at, r, _ in simulate(jitter, validation=30.0) if 0.11 <= at < 0.95]
    for at, ratio in ratios:
        assert 0.75 < ratio < 1.25, at


@pytest.mark.parametrize("busy_first", [True, False])
def test_row_57_beside_other_work_for_half_the_run_it_is_within_a_factor_of_two(
    simulate, busy_first
):
    """Steps take 1.9 times as long in one half of the run."""

    def seconds(share: float) -> float:
        return jitter(share) * (1.9 if (share < 0.5) == busy_first else 1.0)

    for at, ratio, _ in simulate(seconds):
        if 0.1 <= at < 0.95:
            assert 0.5 < ratio < 2, at


def recorded(load: str) -> tuple[list[float], list[float]]:
    """Estimates / truth from a tenth of a recorded training on, and the times of its steps."""
    recording = json.loads((RECORDED / f"minute-{load}.json").read_text())
    ratios = [estimate.ratio for estimate in time_left.judged(time_left.replay(recording))]
    assert len(ratios) > 50
    return ratios, [each for segment in recording["segments"] for each in segment["steps"]]


def test_row_57_of_a_recorded_steady_training_it_is_within_a_quarter():
    ratios, _ = recorded("steady")
    assert min(ratios) > 0.75 and max(ratios) < 1.25


@pytest.mark.parametrize("load", ["busy-at-first", "busy-at-the-end"])
def test_row_57_of_a_recorded_training_beside_other_work_it_errs_by_the_slowdown(load):
    """No estimate knows what load will come: when it changes, the last one is off by its factor."""
    ratios, steps = recorded(load)
    half = len(steps) // 2
    halves = sorted(statistics.mean(part) for part in (steps[:half], steps[half:]))
    slowdown = halves[1] / halves[0]
    assert 1.5 < slowdown < 2.5
    bound = max(2, 1.1 * slowdown)
    assert 1 / bound < min(ratios) and max(ratios) < bound


def test_row_57_of_small_images_first_it_knows_that_large_ones_take_longer(simulate):
    def seconds(share: float) -> float:
        size = 20 if share < 0.35 else 26 if share < 0.6 else 32
        return 4 * (size / 32) ** 2

    for at, ratio, _ in simulate(seconds, **{"progressive": True}):
        if 0.1 <= at < 0.95:
            assert 0.75 < ratio < 1.25, at


def test_row_57_it_is_a_first_guess_until_a_tenth_of_the_steps_are_done(simulate):
    settled = [(at, is_settled) for at, _, is_settled in simulate(lambda share: 1.0, 0.0, 0.0)]
    assert not any(is_settled for at, is_settled in settled if at < 0.095)
    assert all(is_settled for at, is_settled in settled if at > 0.105)


def test_row_57_an_interruption_is_forgotten(simulate):
    """One step takes as long as half of the run: a suspended laptop."""
    count = itertools.count()

    def seconds(share: float) -> float:
        return 60.0 if next(count) == 30 else 1.0

    late = [ratio for at, ratio, _ in simulate(seconds) if 0.8 < at < 0.98]
    assert all(ratio < 1.6 for ratio in late)


def test_row_57_without_steps_there_is_no_estimate_and_at_the_end_nothing_is_left():
    pace = Pace(evaluated=100)
    assert pace.seconds_left(10, 2) is None
    pace.add_overhead(5.0)  # before the first step: no epoch's
    pace.add_steps(10, 1.0)
    assert pace.cost_per_s == 10.0
    assert pace.seconds_left(20, 1) == pytest.approx(2.0 + 100 / 30)
    pace.add_overhead(3.0)
    assert pace.seconds_left(0, 1) == pytest.approx(100 / 30 - 3.0)
    pace.end_epoch()
    assert pace.seconds_left(0, 0) == 0.0
    assert pace.seconds_left(0, 2) == pytest.approx(2 * 3.0)
    assert pace.seconds_left(0, 1, waited=10.0) == 0.0
