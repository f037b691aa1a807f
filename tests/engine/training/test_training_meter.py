"""The meter: speed and time left by a clock of the test's, and its check of the loss."""

import math

import pytest
import torch

from engine.errors import TrainingFailed
from engine.training.meter import Meter
from engine.training.records import ProgressRecord
from engine.training.step import StepMetrics

pytestmark = pytest.mark.usefixtures("one_thread")


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def metered(make_trainer, tiny):
    """metered(**changes): a meter of 6 steps or more, a clock, and step(loss) that does one."""

    def make(**changes):
        trainer, clock = make_trainer(config=tiny(**changes)), Clock()
        meter = Meter(trainer.setup, trainer.state, clock)

        def step(loss: float = 2.0, acc: float = 0.5) -> None:
            trainer.state.position.step += 1
            values = torch.tensor([loss, acc])
            meter.add(StepMetrics(trainer.state.position.step, images=16, lr=0.1, values=values))

        return meter, clock, step

    return make


def test_speed_and_time_left_are_averages_and_records_tell_each_reading(metered):
    meter, clock, step = metered()
    assert meter.progress("training").eta_seconds is None
    step(), step()
    clock.now += 4.0
    meter.read()
    progress = meter.progress("training")
    assert (progress.images_per_s, progress.batch_seconds) == (8.0, 2.0)
    assert progress.eta_seconds > 4 * 16 / 8.0  # and the validations
    assert (progress.step, progress.epoch, progress.seconds) == (2, 1, 4.0)
    assert [(r.step, r.images_per_s) for r in meter.records()] == [(1, 8.0), (2, 8.0)]
    assert list(meter.records()) == []
    for seconds in (1.0, 2.0):
        step()
        clock.now += seconds
        meter.read()
    assert [r.images_per_s for r in meter.records()] == [16.0, 8.0]
    assert 8.0 < meter.progress("training").images_per_s < 16.0


def test_time_that_is_excluded_counts_for_the_run_but_not_for_the_speed(metered):
    meter, clock, step = metered()
    clock.now += 50.0  # a validation
    meter.exclude_time()
    step()
    clock.now += 2.0
    meter.read()
    assert meter.progress("training").images_per_s == 8.0
    assert meter.progress("training").seconds == 52.0


def test_nothing_is_counted_before_it_is_read(metered):
    meter, _, step = metered()
    step(loss=3.0), step(loss=1.0)
    position = meter.state.position
    assert (position.images, list(meter.records())) == (0, [])
    meter.read()
    assert (position.images, position.loss_sum, position.acc_sum) == (32, 64.0, 16.0)
    assert position.latest == (1.0, 0.5, 0.1)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_the_first_step_whose_loss_is_not_finite_is_named(metered, loss):
    meter, _, step = metered()
    for each in (2.0, 2.0, 2.0, loss, math.nan):
        step(each)
    with pytest.raises(
        TrainingFailed, match=rf"diverged at step 4 \(epoch 2\): the loss is {loss}"
    ):
        meter.read()


@pytest.mark.usefixtures("every_step")
def test_progress_tells_how_much_is_left(make_trainer):
    records = [r for r in make_trainer().fit() if isinstance(r, ProgressRecord)]
    assert all(r.images_per_s > 0 and r.batch_seconds == 16 / r.images_per_s for r in records)
    assert all(r.eta_seconds >= (6 - r.step) * 16 / r.images_per_s * 0.999 for r in records)
    assert [r.eta_settled for r in records] == [r.step >= 0.6 for r in records]
