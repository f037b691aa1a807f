"""Metrics of training steps, buffered on the device and read a few times a second."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch

from engine.errors import TrainingFailed
from engine.evaluate import TestTimeAugmentation
from engine.training import progressive
from engine.training.pace import SETTLED_SHARE, Pace
from engine.training.records import ProgressRecord, StepRecord
from engine.training.state import TrainState
from engine.training.step import Setup, StepMetrics

MAX_STEP_RECORDS = 5_000  # per run; more than any chart shows, and 0.6 MB on disk
ADVICE = "try a lower learning rate, a warm-up, or another norm"


class Meter:
    """Turns step metrics into records, and accumulates the sums in `state.position`.

    Steps only append to a buffer; `read` synchronizes with the device, so the loop calls it only a
    few times a second. clock: monotonic time in seconds.
    """

    def __init__(
        self, setup: Setup, state: TrainState, clock: Callable[[], float] = time.monotonic
    ):
        self.setup, self.state, self.clock = setup, state, clock
        self.record_every = math.ceil(setup.steps / MAX_STEP_RECORDS)
        self.images_per_s = 0.0  # between the last two readings
        self.pace = Pace(evaluated=len(setup.splits.val_images))
        self._buffer: list[StepMetrics] = []
        self.start()

    def start(self) -> None:
        """Start to measure time and to count the steps of this session."""
        self._first_step = self.state.position.step
        self.last_read = self._last_tick = self.clock()

    def tick(self) -> None:
        """Add the time since the last tick to the seconds of the epoch and of the run."""
        now = self.clock()
        self.state.position.epoch_seconds += now - self._last_tick
        self.state.position.seconds += now - self._last_tick
        self._last_tick = now

    def exclude_time(self) -> None:
        """Count the time since the last reading as overhead instead of time in steps."""
        now = self.clock()
        self.pace.add_overhead(now - self.last_read)
        self.last_read = now

    def shift(self, seconds: float) -> None:
        """Move the marks of measured time forward, past a time that does not count."""
        self.last_read += seconds
        self._last_tick += seconds

    def add(self, metrics: StepMetrics) -> None:
        self._buffer.append(metrics)

    def read(self) -> None:
        """Copy the buffered metrics to the host and check them. Synchronizes with the device.

        Raises TrainingFailed naming the first step whose loss is not finite.
        """
        self.tick()
        if not self._buffer:
            return
        values = torch.stack([metrics.values for metrics in self._buffer])
        values = self.setup.group.all_reduce(values).tolist()
        now = self.clock()
        images = sum(metrics.images for metrics in self._buffer)
        seconds = max(1e-9, now - self.last_read)
        self.images_per_s = images / seconds
        self.pace.add_steps(self._cost(self._buffer), seconds)
        self.last_read = now
        for metrics, (loss, acc) in zip(self._buffer, values, strict=True):
            self._count(metrics, loss, acc)
        self._buffer.clear()

    def _count(self, metrics: StepMetrics, loss: float, acc: float) -> None:
        position, step = self.state.position, metrics.step
        epoch = self._epoch(step)
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"diverged at step {step} (epoch {epoch}): the loss is {loss}; {ADVICE}"
            )
        position.loss_sum += loss * metrics.images
        position.acc_sum += acc * metrics.images
        position.images += metrics.images
        position.latest = (loss, acc, metrics.lr)
        if self._is_recorded(step):
            record = StepRecord(
                step=step,
                epoch=epoch,
                loss=loss,
                acc=acc,
                lr=metrics.lr,
                images_per_s=self.images_per_s,
            )
            position.pending.append(record)

    def recorded(self) -> Iterator[tuple[int, int]]:
        """(step, epoch) of every record that `records` has yielded, in this or earlier sessions."""
        position = self.state.position
        end = position.pending[0].step - 1 if position.pending else position.step
        return ((s, self._epoch(s)) for s in range(1, end + 1) if self._is_recorded(s))

    def _is_recorded(self, step: int) -> bool:
        return step % self.record_every == 0 or step == self.setup.steps

    def _epoch(self, step: int) -> int:
        return (step - 1) // self.setup.steps_per_epoch + 1

    def records(self) -> Iterator[StepRecord]:
        """Step records that have been read and not yet yielded.

        Each is removed before it is yielded, so that a consumer that ends the training on it does
        not get it again after a resume.
        """
        while self.state.position.pending:
            yield self.state.position.pending.popleft()

    def progress(self, phase: str) -> ProgressRecord:
        """Progress of the run. Speed and time left are averages over the session; see Pace."""
        setup, position = self.setup, self.state.position
        loss, acc, lr = position.latest
        speed = self.pace.cost_per_s / self._image_cost(max(1, position.step))
        return ProgressRecord(
            phase=phase,
            step=position.step,
            epoch=position.epochs_done + 1,
            loss=loss,
            acc=acc,
            lr=lr,
            images_per_s=speed,
            batch_seconds=setup.config.batch_size / speed if speed else 0.0,
            eta_seconds=self._seconds_left(),
            eta_settled=self._is_settled(),
            seconds=position.seconds,
        )

    def _seconds_left(self) -> float | None:
        config, position, splits = self.setup.config, self.state.position, self.setup.splits
        once = len(splits.test[0]) if splits.test else 0
        if config.tta:
            views = TestTimeAugmentation.like_training(config.augment).count
            once += views * len(splits.val_images)
        return self.pace.seconds_left(
            self._cost_left(),
            config.epochs - position.epochs_done,
            waited=self.clock() - self.last_read,
            evaluated=once,
        )

    def _is_settled(self) -> bool:
        done = self.state.position.step - self._first_step
        return done >= SETTLED_SHARE * (self.setup.steps - self._first_step)

    def _image_cost(self, step: int) -> float:
        """Cost of an image in this step (counted from 1), in full-size images."""
        if not self.setup.config.progressive:
            return 1.0
        full = self.setup.splits.train_images.shape[-1]
        return (progressive.size_at((step - 1) / self.setup.steps, full) / full) ** 2

    def _cost(self, metrics: list[StepMetrics]) -> float:
        return sum(m.images * self._image_cost(m.step) for m in metrics)

    def _cost_left(self) -> float:
        """Cost of the remaining training steps, in full-size images."""
        setup, position = self.setup, self.state.position
        count = len(setup.splits.train_images)
        if not setup.config.progressive:
            done = (position.step % setup.steps_per_epoch) * setup.config.batch_size
            whole = setup.config.epochs - position.step // setup.steps_per_epoch
            return whole * count - min(done, count)
        full = setup.splits.train_images.shape[-1]
        return setup.config.epochs * count * progressive.cost(full, position.step / setup.steps)
