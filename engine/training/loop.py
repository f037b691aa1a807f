"""The training loop: a generator of records that the command line, the worker and tests consume."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.augment import FlipParams, Pipeline, PipelineParams
from engine.augment.geometric import to_device
from engine.config import RunConfig
from engine.data.batches import Splits, epoch_permutation
from engine.device import Compute, set_cudnn_deterministic
from engine.errors import TrainingFailed
from engine.evaluate import Tally, TestTimeAugmentation, evaluate
from engine.fast import accelerate
from engine.randomness import Purpose, keyed_generator
from engine.runs.checkpoint import CheckpointStore
from engine.schedules import learning_rate
from engine.training import compilation, progressive, snapshot
from engine.training.average import WeightAverage
from engine.training.group import ALONE, Ended, Group
from engine.training.optim import make_optimizer
from engine.training.records import EpochRecord, Note, Progress, Record, Started, StepRecord
from engine.training.snapshot import Position

READ_EVERY_S = 0.25  # step metrics are read from the device so often: a read waits for the device
SAVE_EVERY_S = 60.0
MAX_STEP_RECORDS = 5_000  # a run; more than any chart shows, and 0.6 MB on disk
ADVICE = "try a lower learning rate, a warm-up, or another norm"


class Trainer:
    """The network and all that moves while it trains; `fit` drives it."""

    def __init__(
        self,
        config: RunConfig,
        splits: Splits,
        pipeline: Pipeline,
        model: nn.Module,
        compute: Compute,
        store: CheckpointStore | None,
        group: Group = ALONE,
    ):
        self.config, self.splits, self.pipeline, self.compute = config, splits, pipeline, compute
        self.store, self.group = store, group
        if compute.device.type == "cuda":
            set_cudnn_deterministic(True)  # or a resume would differ in the last bits
        self.model = model.to(compute.device, memory_format=compute.memory_format).train()
        accelerate(self.model, compute, training=True, compiled=config.compile)
        self.trained = self.model  # in `fit`: compiled, and as the group trains it
        self.optimizer = make_optimizer(self.model, config.optim)
        self.scaler = compute.grad_scaler()
        decay = config.optim.ema
        self.average = WeightAverage(self.model, decay) if decay else None
        count = len(splits.train_images)
        self.first_flips = torch.rand(count, generator=keyed_generator(config.seed, Purpose.FLIP))
        self.position = Position()
        self.steps_per_epoch = math.ceil(len(splits.train_images) / config.batch_size)
        self.steps = self.steps_per_epoch * config.epochs
        self.record_every = math.ceil(self.steps / MAX_STEP_RECORDS)
        self.unread: list[tuple[int, int, float, Tensor]] = []  # step, images, lr, (loss, acc)
        self.pending: deque[StepRecord] = deque()
        self.last_read = self.last_save = self.last_clock = 0.0
        self.speed = 0.0  # images/s over the last reading
        self.latest = (math.nan, math.nan, 0.0)  # loss, acc, lr of the last step read

    def fit(self) -> Iterator[Record]:
        """Train to the last epoch, yielding records; resumes from the store's newest checkpoint.

        Closing the generator, at any yield, saves a checkpoint of the steps done and ends. Raises
        TrainingFailed when the loss stops being finite: nothing is saved from then on. In a group
        every process must exhaust its own generator, but only rank 0 may close it; before it throws
        anything else into it, it calls Group.end.
        """
        restored = self._restore()
        self.group.wait()  # before rank 0 saves what the others might take for a beginning
        p = self.position
        self.last_read = self.last_save = self.last_clock = time.monotonic()
        try:  # from the first yield on: wherever rank 0 is closed, the others must be told
            yield Started(p.step, p.epochs_done, self.steps, p.best_acc, p.best_epoch, p.seconds)
            self.group.agree()
            if self.config.compile:
                yield self._progress("compiling", p.epochs_done + 1)
                self.group.agree()
                yield from self._compile()
                self.group.agree()
            self.trained = self.group.wrap(self.trained)
            if not restored:  # from here on a resume needs nothing but the run's own folder
                with self._while_others_wait():
                    self._save()
            self.group.agree()
            self.last_read = time.monotonic()  # or the first reading would be of what came before
            while p.epochs_done < self.config.epochs:
                yield from self._train_epoch()
                yield from self._validate()
                with self._while_others_wait():
                    self._save()
                self.group.agree()
        except Ended:
            return
        except GeneratorExit:
            self.group.end()
            self._read_metrics()
            self._save()

    @contextlib.contextmanager
    def _while_others_wait(self) -> Iterator[None]:
        """What rank 0 does alone, the others being in `agree`: if it fails, they may leave."""
        try:
            yield
        except BaseException:
            self.group.end()
            raise

    def _compile(self) -> Iterator[Record]:
        """Compile the network in every process, or in none; a note tells why not."""
        count, *_, full = self.splits.train_images.shape
        batch_size = min(count, self.config.batch_size)
        sizes = progressive.sizes(full) if self.config.progressive else [full]
        shapes = set()
        for images in {batch_size, count % batch_size or batch_size}:  # the last batch of an epoch
            part, _ = self.group.part(images)
            shapes |= {(len(range(images)[part]), size) for size in sizes}
        compiled, problem = compilation.attempt(self.model, sorted(shapes), self.compute)
        failed = self.group.total(torch.tensor(float(bool(problem)), device=self.compute.device))
        if failed.item():
            accelerate(self.model, self.compute, training=True)
            yield Note(problem or "not compiled: another process could not")
        else:
            self.trained = compiled

    def _train_epoch(self) -> Iterator[Record]:
        p, config, epoch = self.position, self.config, self.position.epochs_done + 1
        order = epoch_permutation(len(self.splits.train_images), config.seed, epoch)
        first_step = p.epochs_done * self.steps_per_epoch
        while p.step < first_step + self.steps_per_epoch:
            start = (p.step - first_step) * config.batch_size
            chosen = order[start : start + config.batch_size]
            self._step(chosen, epoch)
            now = time.monotonic()
            read, save = self.group.agree(
                (now - self.last_read >= READ_EVERY_S, now - self.last_save >= SAVE_EVERY_S)
            )
            if read:
                yield from self._report("training", epoch)
            if save:
                yield from self._report("saving", epoch)
                with self._while_others_wait():
                    self._save()
            if read or save:  # rank 0 may have been closed there
                self.group.agree()
        yield from self._report("validating", epoch)
        self.group.agree()

    def _step(self, chosen: Tensor, epoch: int) -> None:
        """One optimizer step on the training images of these indices [B], which are on the CPU.

        Nothing in it waits for a GPU.
        """
        config, p = self.config, self.position
        (places,) = to_device([chosen], self.compute.device)
        images = self.splits.train_images.index_select(0, places)
        labels = self.splits.train_labels.index_select(0, places)
        rate = learning_rate(
            config.schedule, config.optim.lr, p.step, self.steps_per_epoch, config.epochs
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("factor", 1.0)  # checkpoints of old have none
        chance = self._sample(images, chosen, epoch)
        inputs, targets_a, targets_b, lam = self.pipeline.apply(images, labels, chance)
        if config.progressive:
            size = progressive.size_at(p.step / self.steps, inputs.shape[-1])
            inputs = progressive.resize(inputs, size)
        inputs = inputs.contiguous(memory_format=self.compute.memory_format)

        # Chance was drawn for the whole batch, whose images may be mixed across its parts.
        part, share = self.group.part(len(images))
        inputs, targets_a, targets_b = inputs[part], targets_a[part], targets_b[part]

        with self.compute.autocast():
            logits = self.trained(inputs)
        logits = logits.float()
        smoothing = config.optim.label_smoothing
        loss = lam * F.cross_entropy(logits, targets_a, label_smoothing=smoothing)
        if lam < 1:
            loss = loss + (1 - lam) * F.cross_entropy(logits, targets_b, label_smoothing=smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        # The gradients' mean over the processes is then that of the whole batch.
        self.scaler.scale(loss * (share * self.group.size)).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average:
            self.average.update()

        with torch.no_grad():
            guess = logits.argmax(1)
            right = (
                lam * (guess == targets_a).float() + (1 - lam) * (guess == targets_b).float()
            ).mean()
            metrics = torch.stack([loss.detach(), right]) * share
            self.unread.append((p.step + 1, len(images), rate, metrics))
        p.step += 1

    def _sample(self, images: Tensor, chosen: Tensor, epoch: int) -> PipelineParams:
        """What chance does to this batch: a function of seed, epoch and step alone."""
        seed = self.config.seed
        generator = keyed_generator(seed, Purpose.AUGMENT, epoch, self.position.step)
        chance = self.pipeline.sample(images.shape, generator)
        if self.config.augment.alternating_flip:
            # Jordan 2024, arXiv 2404.00498, section 3.6: every pair of epochs shows both sides.
            flipped = (self.first_flips[chosen] < 0.5) ^ (epoch % 2 == 0)
            chance = chance._replace(flip=FlipParams(flipped))
        return chance

    def _read_metrics(self) -> None:
        """Bring the buffered metrics to the host (waits for the device) and check them.

        Raises TrainingFailed that names the first step whose loss is not finite.
        """
        p = self.position
        self._advance_clock()
        if not self.unread:
            return
        values = self.group.total(torch.stack([metrics for *_, metrics in self.unread])).tolist()
        now = time.monotonic()
        self.speed = sum(n for _, n, _, _ in self.unread) / max(1e-9, now - self.last_read)
        self.last_read = now
        for (step, images, rate, _), (loss, acc) in zip(self.unread, values, strict=True):
            epoch = (step - 1) // self.steps_per_epoch + 1
            if not math.isfinite(loss):
                raise TrainingFailed(
                    f"diverged at step {step} (epoch {epoch}): the loss is {loss}; {ADVICE}"
                )
            p.loss_sum += loss * images
            p.acc_sum += acc * images
            p.images += images
            self.latest = (loss, acc, rate)
            if step % self.record_every == 0 or step % self.steps_per_epoch == 0:
                self.pending.append(StepRecord(step, epoch, loss, acc, rate, self.speed))
        self.unread.clear()

    def _report(self, phase: str, epoch: int) -> Iterator[Record]:
        """Read, yield every step record, then where the run is."""
        self._read_metrics()
        while self.pending:
            yield self.pending.popleft()  # given out before the consumer can close here
        yield self._progress(phase, epoch)

    def _progress(self, phase: str, epoch: int) -> Progress:
        p, (loss, acc, rate) = self.position, self.latest
        eta = None
        if self.speed:
            eta = self._images_left() / self.speed
        batch_seconds = self.config.batch_size / self.speed if self.speed else 0.0
        return Progress(
            phase, p.step, epoch, loss, acc, rate, self.speed, batch_seconds, eta, p.seconds
        )

    def _images_left(self) -> float:
        """To train on, in images of the size that is trained on now."""
        p, batch_size = self.position, self.config.batch_size
        if not self.config.progressive:
            return (self.steps - p.step) * batch_size
        full = self.splits.train_images.shape[-1]
        now = progressive.size_at(max(0, p.step - 1) / self.steps, full)  # what was just measured
        left = progressive.cost(full, p.step / self.steps)
        return self.steps * batch_size * left * (full / now) ** 2

    def _validate(self) -> Iterator[Record]:
        """Measure the epoch on clean validation images, note it, keep the best weights."""
        p, epoch = self.position, self.position.epochs_done + 1
        tally, with_tta = Tally(), Tally()
        yield from self._measure(tally, epoch)
        if self.config.tta and epoch == self.config.epochs:
            tta = TestTimeAugmentation.like_training(self.config.augment)
            yield from self._measure(with_tta, epoch, tta=tta)
        if not math.isfinite(tally.loss):
            raise TrainingFailed(
                f"diverged by step {p.step} (epoch {epoch}): the validation loss is {tally.loss}; "
                f"{ADVICE}"
            )
        self._advance_clock()
        record = EpochRecord(
            epoch,
            p.step,
            p.loss_sum / p.images,
            p.acc_sum / p.images,
            tally.loss,
            tally.acc,
            self.latest[2],
            p.epoch_seconds,
            with_tta.acc if with_tta.count else None,
        )
        if p.best_acc is None or tally.acc > p.best_acc:
            if self.store and self.group.leads:
                with self._while_others_wait():
                    self.store.save_best(self._result(), epoch, tally.acc)
            p.best_acc, p.best_epoch = tally.acc, epoch
        p.loss_sum = p.acc_sum = p.epoch_seconds = 0.0
        p.images = 0
        p.epochs_done = epoch
        yield record
        self.last_read = time.monotonic()  # validation is not part of the next reading's speed

    def _measure(
        self, tally: Tally, epoch: int, *, tta: TestTimeAugmentation | None = None
    ) -> Iterator[Record]:
        """Evaluate what the run would leave behind: the moving average, where there is one."""
        # Of batch norm's statistics those of rank 0 are kept, so all validate with them.
        buffers = {k: b for k, b in self.model.named_buffers() if b.is_floating_point()}
        self.group.share(buffers.values())
        self.group.share(self.average.values[key] for key in (buffers if self.average else ()))
        part = slice(self.group.rank, None, self.group.size)
        with self.average.applied() if self.average else contextlib.nullcontext():
            for _ in evaluate(
                self.model,
                self.splits.val_images[part],
                self.splits.val_labels[part],
                self.pipeline.mean,
                self.pipeline.std,
                self.compute,
                tally,
                tta=tta,
            ):
                yield self._progress("validating", epoch)
        self.group.agree()
        sums = torch.tensor(
            [tally.loss_sum, tally.correct, tally.count],
            dtype=torch.float64 if self.compute.device.type != "mps" else torch.float32,
            device=self.compute.device,
        )
        loss_sum, correct, count = self.group.total(sums).tolist()
        tally.loss_sum, tally.correct, tally.count = loss_sum, int(correct), int(count)

    def _result(self) -> dict[str, Tensor]:
        return self.average.weights() if self.average else self.model.state_dict()

    def _advance_clock(self) -> None:
        now = time.monotonic()
        self.position.epoch_seconds += now - self.last_clock
        self.position.seconds += now - self.last_clock
        self.last_clock = now

    def _save(self) -> None:
        """Write a checkpoint, once every metric up to here was read and found finite."""
        if self.store is None or not self.group.leads:
            return
        self._advance_clock()
        step, weights = self.position.step, self.model.state_dict()
        # The last step's loss was finite, but its update may have overflowed.
        if not snapshot.are_finite(weights):
            raise TrainingFailed(f"diverged at step {step}: weights are not finite; {ADVICE}")
        averaged = self._result() if self.average else None
        self.store.save(step, weights, snapshot.capture(self), averaged)
        self.last_read = self.last_save = time.monotonic()  # no part of the next reading's speed

    def _restore(self) -> bool:
        checkpoint = self.store.load_newest() if self.store else None
        if checkpoint is not None:
            snapshot.restore(self, checkpoint, self.store.header)
        return checkpoint is not None
