"""The training loop: a generator of records, for the command line, the worker and tests."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from engine.augment import Pipeline
from engine.config import RunConfig
from engine.data.batches import Splits, epoch_permutation
from engine.device import Compute, set_cudnn_deterministic
from engine.errors import TrainingFailed
from engine.evaluate import Tally, TestTimeAugmentation, evaluate
from engine.fast import accelerate
from engine.runs import history
from engine.runs.checkpoint import CheckpointStore, apply_weights
from engine.training import compilation
from engine.training.average import WeightAverage
from engine.training.group import SINGLE_PROCESS, Ended, Group
from engine.training.meter import ADVICE, Meter
from engine.training.optim import make_optimizer
from engine.training.records import EpochRecord, Note, Record, Started
from engine.training.state import TrainState, are_finite
from engine.training.step import Setup, train_step

READ_EVERY_S = 0.25  # between readings of the metrics, each of which synchronizes with the device
SAVE_EVERY_S = 60.0


class Trainer:
    """A model in training; `fit` trains it."""

    def __init__(
        self,
        config: RunConfig,
        splits: Splits,
        pipeline: Pipeline,
        model: nn.Module,
        compute: Compute,
        store: CheckpointStore | None,
        group: Group = SINGLE_PROCESS,
    ):
        if compute.device.type == "cuda":
            set_cudnn_deterministic(True)  # a resume has to reproduce the last bit
        self.setup = Setup(config, splits, pipeline, compute, group)
        self.store = store
        self.model = model.to(compute.device, memory_format=compute.memory_format).train()
        accelerate(self.model, compute, training=True, compiled=config.compile)
        self.network = self.model  # as it is called: `fit` compiles and wraps it
        self.state = TrainState(
            self.model,
            make_optimizer(self.model, config.optim),
            compute.grad_scaler(),
            WeightAverage(self.model, config.optim.ema) if config.optim.ema else None,
        )
        self.meter = Meter(self.setup, self.state)
        self.last_save = 0.0
        self.damaged: tuple[str, ...] = ()  # checkpoints that a resume has passed over

    def fit(self) -> Iterator[Record]:
        """Train to the last epoch, yielding records; resumes from the store's newest checkpoint.

        Closing the generator, at any yield, saves a checkpoint of the steps done and ends. Raises
        TrainingFailed when the loss stops being finite: nothing is saved from then on. In a group
        every process must exhaust its own generator, but only rank 0 may close it; before it throws
        anything else into it, it calls Group.release.
        """
        config, group, meter = self.setup.config, self.setup.group, self.meter
        resumed = self._resume()
        position = self.state.position
        group.barrier()  # or others might resume from the first checkpoint that rank 0 saves
        meter.start()
        self.last_save = meter.clock()
        try:  # from the first yield on, closing rank 0's generator must release the others
            yield Started(
                step=position.step,
                epochs_done=position.epochs_done,
                steps=self.setup.steps,
                best_acc=position.best_acc,
                best_epoch=position.best_epoch,
                seconds=position.seconds,
                recorded=tuple(meter.recorded()),
            )
            yield from self._report_damage()
            group.broadcast_object()
            if config.compile:
                yield meter.progress("compiling")
                group.broadcast_object()
                yield from self._compile()
                group.broadcast_object()
            self.network = group.wrap(self.network)
            if not resumed:  # from here on a resume needs nothing but the run's own folder
                with group.release_on_error():
                    self._save()
            group.broadcast_object()
            meter.exclude_time()
            while position.epochs_done < config.epochs:
                yield from self._train_epoch()
                yield from self._validate()
                with group.release_on_error():
                    self._save()
                group.broadcast_object()
        except Ended:
            return
        except GeneratorExit:
            group.release()
            meter.read()
            self._save()

    def exclude(self, seconds: float) -> None:
        """Leave the last seconds, in which `fit` was suspended, out of all measured times."""
        self.meter.shift(seconds)
        self.last_save += seconds

    def _resume(self) -> bool:
        """Load the newest checkpoint, if there is one."""
        checkpoint = self.store.load_newest() if self.store else None
        if checkpoint is None:
            return False
        apply_weights(self.model, checkpoint.weights, checkpoint.header, self.store.header)
        self.state.load_state_dict(checkpoint.state)
        self.damaged = checkpoint.damaged
        return True

    def _report_damage(self) -> Iterator[Record]:
        if self.damaged:
            names, step = ", ".join(self.damaged), self.state.position.step
            yield Note(f"the newest checkpoint is damaged ({names}): resuming from step {step}")

    def _compile(self) -> Iterator[Record]:
        """Compile the model in every process, or in none and yield a note that says why."""
        compute, group = self.setup.compute, self.setup.group
        shapes = compilation.input_shapes(self.setup)
        compiled, problem = compilation.attempt(self.model, shapes, compute)
        failed = group.all_reduce(torch.tensor(float(bool(problem)), device=compute.device))
        if failed.item():
            accelerate(self.model, compute, training=True)
            yield Note(problem or "not compiled: another process could not")
        else:
            self.network = compiled

    def _train_epoch(self) -> Iterator[Record]:
        """Train on every image once, or on those left of the epoch after a resume."""
        config, group, meter = self.setup.config, self.setup.group, self.meter
        position = self.state.position
        count, epoch = len(self.setup.splits.train_images), position.epochs_done + 1
        order = epoch_permutation(count, config.seed, self.setup.key_epoch(epoch))
        first_step = position.epochs_done * self.setup.steps_per_epoch
        while position.step < first_step + self.setup.steps_per_epoch:
            start = (position.step - first_step) * config.batch_size
            indices = order[start : start + config.batch_size]
            meter.add(train_step(self.setup, self.network, self.state, indices))

            now = meter.clock()
            read, save = group.broadcast_object(
                (now - meter.last_read >= READ_EVERY_S, now - self.last_save >= SAVE_EVERY_S)
            )
            if read:
                yield from self._report("training")
            if save:
                yield from self._report("saving")
                with group.release_on_error():
                    self._save()
            if read or save:  # rank 0's generator may have been closed there
                group.broadcast_object()
        yield from self._report("validating")
        group.broadcast_object()

    def _report(self, phase: str) -> Iterator[Record]:
        """Read the metrics; yield the step records, then the progress."""
        self.meter.read()
        yield from self.meter.records()
        yield self.meter.progress(phase)

    def _validate(self) -> Iterator[Record]:
        """Evaluate the epoch on clean validation images; save the best weights."""
        config, group, meter = self.setup.config, self.setup.group, self.meter
        position = self.state.position
        epoch = position.epochs_done + 1
        splits = self.setup.splits
        tally, tta_tally, test_tally = Tally(), Tally(), Tally()
        images = splits.val_images, splits.val_labels
        yield from self._evaluate(tally, *images)
        if config.tta and epoch == config.epochs:
            views = TestTimeAugmentation.like_training(config.augment)
            yield from self._evaluate(tta_tally, *images, tta=views)
        if splits.test and epoch == config.epochs:
            yield from self._evaluate(test_tally, *splits.test, phase="testing")
        if not math.isfinite(tally.loss):
            raise TrainingFailed(
                f"diverged by step {position.step} (epoch {epoch}): the validation loss is "
                f"{tally.loss}; {ADVICE}"
            )
        meter.tick()
        record = EpochRecord(
            epoch=epoch,
            step=position.step,
            train_loss=position.loss_sum / position.images,
            train_acc=position.acc_sum / position.images,
            val_loss=tally.loss,
            val_acc=tally.acc,
            lr=position.latest[2],
            seconds=position.epoch_seconds,
            val_acc_tta=tta_tally.acc if tta_tally.count else None,
            test_acc=test_tally.acc if test_tally.count else None,
            predicted=history.to_row(tally.predicted, config.model.num_classes),
        )
        if position.best_acc is None or tally.acc > position.best_acc:
            if self.store and group.is_main:
                with group.release_on_error():
                    self.store.save_best(self.state.result(), epoch, tally.acc)
            position.best_acc, position.best_epoch = tally.acc, epoch
        position.loss_sum = position.acc_sum = position.epoch_seconds = 0.0
        position.images = 0
        position.epochs_done = epoch
        meter.exclude_time()
        meter.pace.end_epoch()
        yield record
        meter.exclude_time()

    def _evaluate(
        self,
        tally: Tally,
        images: Tensor,
        labels: Tensor,
        *,
        tta: TestTimeAugmentation | None = None,
        phase: str = "validating",
    ) -> Iterator[Record]:
        """Evaluate the weights that the run produces, sharded over the processes."""
        pipeline = self.setup.pipeline
        compute, group, average = self.setup.compute, self.setup.group, self.state.average
        # Rank 0's batch-norm statistics are the ones that are saved, so all evaluate with them.
        buffers = {k: b for k, b in self.model.named_buffers() if b.is_floating_point()}
        group.broadcast(buffers.values())
        group.broadcast(average.values[key] for key in (buffers if average else ()))
        shard = slice(group.rank, None, group.world_size)
        with average.applied() if average else contextlib.nullcontext():
            for _ in evaluate(
                self.model,
                images[shard],
                labels[shard],
                pipeline.mean,
                pipeline.std,
                compute,
                tally,
                tta=tta,
            ):
                yield self.meter.progress(phase)
        group.broadcast_object()
        sums = torch.tensor(
            [tally.loss_sum, tally.correct, tally.count],
            dtype=torch.float64 if compute.device.type != "mps" else torch.float32,
            device=compute.device,
        )
        loss_sum, correct, count = group.all_reduce(sums).tolist()
        tally.loss_sum, tally.correct, tally.count = loss_sum, int(correct), int(count)
        predicted = torch.zeros_like(labels)
        predicted[shard] = torch.cat([predicted[:0], *tally.predicted])
        tally.predicted = [group.all_reduce(predicted)]

    def _save(self) -> None:
        """Save a checkpoint, once every metric up to here was read and found finite."""
        if self.store is None or not self.setup.group.is_main:
            return
        self.meter.tick()
        step, weights = self.state.position.step, self.model.state_dict()
        # The last step's loss was finite, but its update may have overflowed.
        if not are_finite(weights):
            raise TrainingFailed(f"diverged at step {step}: weights are not finite; {ADVICE}")
        averaged = self.state.result() if self.state.average else None
        self.store.save(step, weights, self.state.state_dict(), averaged)
        self.meter.exclude_time()
        self.last_save = self.meter.clock()
