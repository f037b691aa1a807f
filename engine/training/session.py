"""One training session of a run, for train.py and the worker: trains and writes the run's files."""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import torch
from torch.utils.tensorboard import SummaryWriter

from engine import allocator, contention
from engine.device import machine_change, threads
from engine.errors import RunError, TrainingFailed
from engine.files import reason
from engine.runs import history
from engine.runs.checkpoint import CheckpointStore
from engine.runs.run import RunWriter, State
from engine.runs.validation import seen_clause
from engine.training.group import SINGLE_PROCESS, Group
from engine.training.loop import Trainer
from engine.training.prepare import Prepared, new_model
from engine.training.records import EpochRecord, Note, ProgressRecord, Record, Started, StepRecord

# What `ask` may return, and the state in which the run is left.
ENDINGS = {
    "pause": State.PAUSED,
    "stop": State.STOPPED,
    "interrupt": State.INTERRUPTED,
    "requeue": State.QUEUED,
}
# Substrings that identify an out-of-memory RuntimeError: MPS, CPU allocators, C++.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
# Substrings that identify the RuntimeError of gloo or NCCL after another process died.
LOST_PEER = ("gloo", "Connection closed by peer", "NCCL", "Connection reset by peer")


def run_training(
    writer: RunWriter,
    prepared: Prepared,
    *,
    ask: Callable[[], str | None] = lambda: None,
    on_record: Callable[[Record], None] = lambda record: None,
    group: Group = SINGLE_PROCESS,
) -> State:
    """Train the run that `writer` holds until it ends or is asked to; returns its last state.

    on_record: called with every record after it was written. See `train` for the rest. group: its
    rank 0 calls this, the other ranks call `join_training`.
    """
    records = train(writer, prepared, ask=ask, group=group)
    try:
        record = next(records)
        while True:
            try:
                on_record(record)
            except BaseException as error:
                record = records.throw(error)
            else:
                record = next(records)
    except StopIteration as end:
        return end.value


def train(
    writer: RunWriter,
    prepared: Prepared,
    *,
    ask: Callable[[], str | None] = lambda: None,
    group: Group = SINGLE_PROCESS,
) -> Generator[Record, str | None, State]:
    """Train the run that `writer` holds; yields every record after it was written.

    Returns the run's last state. ask: called after every record, a few times a second; a key of
    ENDINGS ends the session within one batch, with a checkpoint, as requests in control.json do.
    A failure is stored in the run's status and log, not raised. `send("wait")` instead of `next`
    suspends the session in memory, in state *waiting*, until the next `next`.
    """
    recorded = writer.status.compute if _is_alone_on_cpu(prepared, group) else {}
    same = (recorded.get("device"), recorded.get("processes")) == ("cpu", 1)
    count = recorded.get("threads") if same else None  # a resume repeats the bits
    with allocator.kept_blocks(), threads(count) as usual_threads:
        try:
            return (yield from _train(writer, prepared, ask, group, usual_threads))
        except GeneratorExit:
            raise  # closed: interrupted, with a checkpoint
        except BaseException as error:
            fail(writer, error)
            if isinstance(error, KeyboardInterrupt):
                raise
            return State.FAILED
        finally:
            release_memory()


def join_training(folder: Path, prepared: Prepared, group: Group) -> None:
    """Train the run in `folder` with rank 0, until that ends it. Raises TrainingFailed."""
    with allocator.kept_blocks():
        for _ in _make_trainer(folder, prepared, group).fit():
            pass


def fail(writer: RunWriter, error: BaseException) -> None:
    """Mark the run as failed, with one line of advice in its status and a traceback in its log."""
    with contextlib.suppress(RunError):  # a full disk may be the reason
        writer.log("".join(traceback.format_exception(error)))
    with contextlib.suppress(RunError):
        writer.update(
            state=State.FAILED,
            phase="",
            eta_seconds=None,
            message=explain(error),
            # A resume would repeat it: the training is deterministic. A ConfigError may lie in what
            # is around the run: a device, initial weights, the memory of this machine.
            lasting=isinstance(error, TrainingFailed),
        )


def explain(error: BaseException) -> str:
    """One-line message: what went wrong, and what to try."""
    text = (str(error).strip().splitlines() or [""])[0]
    memory = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)
    )
    if memory:
        return "out of memory: try a smaller batch size or width, or precision bf16"
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in LOST_PEER):
        return "another process of this training is gone; resume the run (--resume)"
    if isinstance(error, (TrainingFailed, ValueError)) and text:
        return text
    if isinstance(error, OSError):
        file = f" ({Path(error.filename).name})" if isinstance(error.filename, str) else ""
        return f"a file cannot be read or written{file}: {reason(error)}, then resume the run"
    if isinstance(error, KeyboardInterrupt):
        return "ended at once; the steps since the last checkpoint will be trained again"
    return f"{type(error).__name__}: {text or 'no message'} (train.log has the details)"


def release_memory() -> None:
    """Free the memory of the model before the next run."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _make_trainer(folder: Path, prepared: Prepared, group: Group) -> Trainer:
    return Trainer(
        prepared.config,
        prepared.splits,
        prepared.pipeline,
        new_model(prepared),
        prepared.compute,
        CheckpointStore(folder, prepared.header),
        group,
    )


def _train(
    writer: RunWriter,
    prepared: Prepared,
    ask: Callable[[], str | None],
    group: Group,
    usual_threads: int,
) -> Generator[Record, str | None, State]:
    config = prepared.config
    writer.save_config(config, prepared.dataset_info())
    trainer = _make_trainer(writer.run.path, prepared, group)
    files = RunFiles(writer, prepared, group)
    records, ending = trainer.fit(), None
    try:
        with contention.relief(_is_alone_on_cpu(prepared, group)) as relief:
            for record in records:
                for each in (record, *files.write(record)):
                    if (yield each) == "wait":
                        relief.end()
                        with threads(usual_threads):
                            yield from _wait(writer, trainer)
                relief.check()
                ending = ask() or writer.run.requested()
                if ending:
                    break
            records.close()
    except GeneratorExit:
        ending = "interrupt"
        records.close()
    except BaseException as error:
        if records.gi_frame is None:  # raised by the training: other processes may be anywhere
            raise
        group.release()
        # Not close, which saves: a resume must yield a record again that was not written.
        records.throw(error)
    finally:
        files.close()
    position = trainer.state.position
    # A request at the very last record came too late.
    done = position.epochs_done == config.epochs
    state = State.FINISHED if done else ENDINGS[ending]
    writer.update(
        state=state,
        phase="",
        step=position.step,
        epoch=min(position.epochs_done + 1, config.epochs),
        seconds=position.seconds,
        eta_seconds=None,
    )
    writer.log(f"{state} at step {position.step} of {trainer.setup.steps}")
    return state


def _is_alone_on_cpu(prepared: Prepared, group: Group) -> bool:
    return prepared.compute.device.type == "cpu" and group.world_size == 1


def _wait(writer: RunWriter, trainer: Trainer) -> Iterator[None]:
    """Be suspended for a while, which does not count as training time."""
    begin = trainer.meter.clock()
    writer.update(state=State.WAITING, phase="")
    yield None
    writer.update(state=State.RUNNING, phase="training")
    trainer.exclude(trainer.meter.clock() - begin)


class RunFiles:
    """Writes records to the run's files: metrics, status, log and TensorBoard events."""

    def __init__(self, writer: RunWriter, prepared: Prepared, group: Group):
        self.writer, self.prepared = writer, prepared
        self.compute = {**prepared.compute.describe(), "processes": group.world_size}
        self.board: SummaryWriter | None = None
        writer.log(f"config {prepared.config.to_dict()}")
        writer.log(f"machine {self.compute}")
        for note in prepared.notes:
            writer.log(f"note: {note}")

    def write(self, record: Record) -> list[Note]:
        """Write a record. Returns notes, written as well, on what was found missing."""
        notes = []
        if isinstance(record, Started):
            notes = self._start(record)
        elif isinstance(record, StepRecord):
            self.writer.append([record.to_dict()])
        elif isinstance(record, EpochRecord):
            if record.predicted:
                with self.writer.run.writing(history.NAME) as path:
                    history.append(path, record.epoch, record.predicted)
            # Synced before the checkpoint that follows, after which a resume would not repeat it.
            self.writer.append([record.to_dict()], durable=True)
            self._summarize_epoch(record)
        elif isinstance(record, Note):
            self._note(record)
        else:
            self._update_progress(record)
        return notes

    def close(self) -> None:
        if self.board is not None:
            self.board.close()

    def _start(self, started: Started) -> list[Note]:
        self.board = SummaryWriter(self.writer.run.path, purge_step=started.epochs_done + 1)
        config, splits = self.prepared.config, self.prepared.splits
        lost = self.writer.trim(started.step, started.epochs_done, started.recorded)
        if config.model.num_classes <= history.MAX_CLASSES:
            with self.writer.run.writing(history.NAME) as path:
                history.trim(path, started.epochs_done, len(splits.val_labels))
        other = machine_change(self.writer.status.compute, self.compute) if started.step else ""
        self.writer.update(
            phase="training",
            step=started.step,
            steps=started.steps,
            epoch=min(started.epochs_done + 1, config.epochs),
            epochs=config.epochs,
            seconds=started.seconds,
            best_acc=started.best_acc,
            best_epoch=started.best_epoch,
            val_is_test=splits.val_is_test,
            val_seen=splits.val_seen,
            notes=[*self.writer.status.notes, *self.prepared.notes],
            parameters=self.prepared.parameters,
            compute=self.compute,
        )
        images = "the test set" if splits.val_is_test else "held-out training images"
        images += seen_clause(splits.val_seen)
        self.writer.log(
            f"starting at step {started.step} of {started.steps}; validation on {images}"
        )
        notes = [Note(text) for text in (lost, other) if text]
        for note in notes:
            self._note(note)
        return notes

    def _note(self, note: Note) -> None:
        self.writer.log(note.text)
        self.writer.update(notes=[*self.writer.status.notes, note.text])

    def _update_progress(self, progress: ProgressRecord) -> None:
        self.writer.update(
            phase=progress.phase,
            step=progress.step,
            epoch=progress.epoch,
            images_per_s=progress.images_per_s,
            batch_seconds=progress.batch_seconds,
            eta_seconds=progress.eta_seconds,
            eta_settled=progress.eta_settled,
            seconds=progress.seconds,
        )

    def _summarize_epoch(self, record: EpochRecord) -> None:
        best = self.writer.status.best_acc
        changes = {
            "final_acc": record.val_acc,
            "tta_acc": record.val_acc_tta,
            "test_acc": record.test_acc,
        }
        if best is None or record.val_acc > best:
            changes |= {"best_acc": record.val_acc, "best_epoch": record.epoch}
        self.writer.update(**changes)
        scalars = {
            "lr": record.lr,
            "Train/loss": record.train_loss,
            "Train/acc": record.train_acc,
            "Val/loss": record.val_loss,
            "Val/acc": record.val_acc,
        }
        for name, value in scalars.items():
            self.board.add_scalar(name, value, record.epoch)
        self.board.flush()
        self.writer.log(
            f"epoch {record.epoch}: train loss {record.train_loss:.4f} "
            f"acc {record.train_acc:.4f}, val loss {record.val_loss:.4f} "
            f"acc {record.val_acc:.4f}, {record.seconds:.1f} s"
        )
