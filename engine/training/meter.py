"""Metrics of training steps: buffered on the device, read now and then; speed and time left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch

from engine.errors import TrainingFailed
from engine.training import progressive
from engine.training.records import ProgressRecord, StepRecord
from engine.training.state import TrainState
from engine.training.step import Setup, StepMetrics

MAX_STEP_RECORDS = 5_000  # per run: more than any chart shows, and 0.6 MB on disk
ADVICE = "try a lower learning rate, a warm-up, or another norm"


class Meter:
    """Turns the metrics of steps into records and into the sums of `state.position`.

    Steps only add to a buffer; `read` synchronizes with the device, so the loop calls it a few
    times a second. clock: the time in seconds, from any start.
    """

    def __init__(
        self, setup: Setup, state: TrainState, clock: Callable[[], float] = time.monotonic
    ):
        self.setup, self.state, self.clock = setup, state, clock
        self.record_every = math.ceil(setup.steps / MAX_STEP_RECORDS)
        self.images_per_s = 0.0  # over the last reading
        self._buffer: list[StepMetrics] = []
        self.start()

    def start(self) -> None:
        """Count time from now on."""
        self.last_read = self._last_tick = self.clock()

    def tick(self) -> None:
        """Add the time since the last tick to the epoch's and the run's."""
        now = self.clock()
        self.state.position.epoch_seconds += now - self._last_tick
        self.state.position.seconds += now - self._last_tick
        self._last_tick = now

    def exclude_time(self) -> None:
        """Leave the time since the last reading out of the speed that the next one measures."""
        self.last_read = self.clock()

    def add(self, metrics: StepMetrics) -> None:
        self._buffer.append(metrics)

    def read(self) -> None:
        """Bring the buffered metrics to the host and check them. Synchronizes with the device.

        Raises TrainingFailed naming the first step whose loss is not finite.
        """
        self.tick()
        if not self._buffer:
            return
        values = torch.stack([metrics.values for metrics in self._buffer])
        values = self.setup.group.all_reduce(values).tolist()
        now = self.clock()
        images = sum(metrics.images for metrics in self._buffer)
        self.images_per_s = images / max(1e-9, now - self.last_read)
        self.last_read = now
        for metrics, (loss, acc) in zip(self._buffer, values, strict=True):
            self._count(metrics, loss, acc)
        self._buffer.clear()

    def _count(self, metrics: StepMetrics, loss: float, acc: float) -> None:
        position, step = self.state.position, metrics.step
        epoch = (step - 1) // self.setup.steps_per_epoch + 1
        if not math.isfinite(loss):
            raise TrainingFailed(
                f"diverged at step {step} (epoch {epoch}): the loss is {loss}; {ADVICE}"
            )
        position.loss_sum += loss * metrics.images
        position.acc_sum += acc * metrics.images
        position.images += metrics.images
        position.latest = (loss, acc, metrics.lr)
        if step % self.record_every == 0 or step % self.setup.steps_per_epoch == 0:
            record = StepRecord(
                step=step,
                epoch=epoch,
                loss=loss,
                acc=acc,
                lr=metrics.lr,
                images_per_s=self.images_per_s,
            )
            position.pending.append(record)

    def records(self) -> Iterator[StepRecord]:
        """Every step record read and not yielded before.

        Each is removed before it is yielded, so that a consumer that ends the training on it does
        not get it again after a resume.
        """
        while self.state.position.pending:
            yield self.state.position.pending.popleft()

    def progress(self, phase: str) -> ProgressRecord:
        position = self.state.position
        loss, acc, lr = position.latest
        speed = self.images_per_s
        return ProgressRecord(
            phase=phase,
            step=position.step,
            epoch=position.epochs_done + 1,
            loss=loss,
            acc=acc,
            lr=lr,
            images_per_s=speed,
            batch_seconds=self.setup.config.batch_size / speed if speed else 0.0,
            eta_seconds=self._images_left() / speed if speed else None,
            seconds=position.seconds,
        )

    def _images_left(self) -> float:
        """Images left to train on, as a count of images of the present size."""
        setup, step = self.setup, self.state.position.step
        batch_size = setup.config.batch_size
        if not setup.config.progressive:
            return (setup.steps - step) * batch_size
        full = setup.splits.train_images.shape[-1]
        present = progressive.size_at(max(0, step - 1) / setup.steps, full)  # just measured
        left = progressive.cost(full, step / setup.steps)
        return setup.steps * batch_size * left * (full / present) ** 2
