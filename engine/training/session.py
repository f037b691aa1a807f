"""One sitting of a run, for train.py and the worker: prepare, train, keep the run's files."""

from __future__ import annotations

import contextlib
import gc
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from engine import allocator, data
from engine.augment import (
    CutMix,
    Mixup,
    Pipeline,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    normalize,
)
from engine.config import RunConfig, with_fields
from engine.data import ImageData
from engine.data import Progress as DataProgress
from engine.data.batches import Splits, split
from engine.device import Compute, resolve
from engine.errors import CheckpointError, DataError, TrainingFailed
from engine.models import build_model, build_on_meta, whitening
from engine.models.summary import count_parameters
from engine.randomness import Purpose, keyed_generator
from engine.runs.checkpoint import (
    CheckpointStore,
    apply_weights,
    describe_model,
    has_checkpoint,
    load_weights,
)
from engine.runs.run import Run, RunWriter, State
from engine.training import progressive
from engine.training.group import ALONE, Group
from engine.training.loop import Trainer
from engine.training.records import EpochRecord, Note, Progress, Record, Started, StepRecord

# What a consumer's `ask` may answer, and the state that the run is left in.
ENDINGS = {"pause": State.PAUSED, "stop": State.STOPPED, "interrupt": State.INTERRUPTED}
# How a RuntimeError tells it: MPS, the CPU's allocator elsewhere and on Windows, C++ itself.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "bad_alloc")
# How gloo and NCCL tell that a process of the group died.
LOST_PEER = ("gloo", "Connection closed by peer", "NCCL", "Connection reset by peer")


@dataclass(frozen=True)
class Prepared:
    """Everything that can be wrong with a run, checked and loaded before it starts."""

    config: RunConfig  # with num_classes filled in
    info: ImageData
    splits: Splits
    pipeline: Pipeline
    compute: Compute
    parameters: int
    header: dict[str, str]  # what its weights' files say of the network
    initial: tuple[dict[str, Tensor], dict[str, str]] | None  # weights to start from, their header

    def dataset_info(self) -> dict[str, object]:
        info = self.info
        return {"name": info.name, "classes": info.classes, "mean": info.mean, "std": info.std}


def prepare(
    config: RunConfig,
    root: Path,
    run: Run | None = None,
    *,
    device: str | None = None,
    progress: Callable[[DataProgress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prepared:
    """Resolve device, data and network, or raise ConfigError, DataError or CheckpointError.

    root: the folder of runs, where `config.pretrained` may name one. run: the run to go on with,
    if it was made already; with a checkpoint of its own it needs no weights to start from.
    device: where to compute, if not as the config says.
    """
    compute = resolve(device or config.device, config.precision)
    count_parameters(**config.model.arguments)  # before a download
    if config.progressive:
        progressive.check(build_on_meta(**config.model.arguments))
    info = data.load(
        config.data.dataset,
        Path(config.data.root),
        url=config.data.url,
        progress=progress,
        cancelled=cancelled,
    )
    begun = run is not None and has_checkpoint(run.path)
    known = run.dataset_info() if begun else None
    if known and not info.matches(known):
        raise DataError(
            f"the images of {info.name} are not those that run {run.name!r} began with: bring "
            "those back, or start a new run from its weights (pretrained)"
        )
    config = with_fields(config, {"model.num_classes": len(info.classes)})
    splits = split(
        info,
        holdout=config.data.holdout,
        limit=config.data.limit,
        seed=config.seed,
        device=compute.device,
    )
    parameters = count_parameters(**config.model.arguments)
    header = describe_model(config.model)
    initial = _initial_weights(config, root) if config.pretrained and not begun else None
    pipeline = make_pipeline(config, info)
    prepared = Prepared(config, info, splits, pipeline, compute, parameters, header, initial)
    if initial:
        new_model(prepared)  # raises if the weights do not fit
    return prepared


def make_pipeline(config: RunConfig, info: ImageData) -> Pipeline:
    """The augmentations that a config turns on, for a data set's mean and std."""
    augment = config.augment
    return Pipeline(
        crop=RandomCrop(augment.crop_padding, augment.crop_reflect) if augment.crop else None,
        flip=RandomHorizontalFlip() if augment.flip else None,
        erasing=RandomErasing() if augment.erasing else None,
        mixup=Mixup(augment.mixup_alpha) if augment.mixup else None,
        cutmix=CutMix(augment.cutmix_alpha) if augment.cutmix else None,
        mean=info.mean,
        std=info.std,
    )


def new_model(prepared: Prepared) -> torch.nn.Module:
    """The network at step 0: seeded, or with the weights that the run starts from."""
    network = build_model(**prepared.config.model.arguments, seed=prepared.config.seed)
    if prepared.initial:
        apply_weights(network, *prepared.initial, prepared.header)
    elif layer := whitening.find(network):
        layer.fit(normalize(_some_images(prepared), prepared.info.mean, prepared.info.std))
    return network


def _some_images(prepared: Prepared) -> Tensor:
    """Training images for the whitening's covariance, at random: folders come class by class."""
    images = prepared.splits.train_images
    generator = keyed_generator(prepared.config.seed, Purpose.WHITENING)
    chosen = torch.randperm(len(images), generator=generator)[: whitening.IMAGES]
    return images[chosen.to(images.device)].cpu()


def run_training(
    writer: RunWriter,
    prepared: Prepared,
    *,
    ask: Callable[[], str | None] = lambda: None,
    on_record: Callable[[Record], None] = lambda record: None,
    group: Group = ALONE,
) -> State:
    """Train a run that `writer` holds until it ends or is asked to; the state it is left in.

    ask: polled a few times a second; "pause", "stop" or "interrupt" end the sitting within one
    batch, with a checkpoint. What control.json asks counts as well. on_record sees every record
    after it was written. A failure is kept in the run's status and log, not raised. group: the
    processes that train together, of which this is rank 0; the others call `follow`.
    """
    with allocator.kept_blocks():
        try:
            return _train(writer, prepared, ask, on_record, group)
        except BaseException as error:
            fail(writer, error)
            if isinstance(error, KeyboardInterrupt):
                raise
            return State.FAILED
        finally:
            release_memory()


def follow(folder: Path, prepared: Prepared, group: Group) -> None:
    """Train with rank 0, which holds the run in `folder`, until it ends. Raises TrainingFailed."""
    with allocator.kept_blocks():
        for _ in _trainer(folder, prepared, group).fit():
            pass


def _trainer(folder: Path, prepared: Prepared, group: Group) -> Trainer:
    store = CheckpointStore(folder, prepared.header)
    parts = prepared.splits, prepared.pipeline, new_model(prepared), prepared.compute
    return Trainer(prepared.config, *parts, store, group)


def _train(writer, prepared, ask, on_record, group) -> State:
    config = prepared.config
    writer.save_config(config, prepared.dataset_info())
    trainer = _trainer(writer.run.path, prepared, group)
    writer.log(f"config {config.to_dict()}")
    machine = {**prepared.compute.describe(), "processes": group.size}
    writer.log(f"machine {machine}")
    records, board, ending = trainer.fit(), None, None
    try:
        for record in records:
            if isinstance(record, Started):
                board = SummaryWriter(writer.run.path, purge_step=record.epochs_done + 1)
                _note_start(writer, prepared, record, machine)
            elif isinstance(record, StepRecord):
                writer.append([record.to_dict()])
            elif isinstance(record, EpochRecord):
                # On disk before the checkpoint after it, from which a resume would not repeat it.
                writer.append([record.to_dict()], durable=True)
                _note_epoch(writer, board, record)
            elif isinstance(record, Note):
                writer.log(record.text)
            else:
                _note_progress(writer, record)
            on_record(record)
            ending = ask() or writer.run.requested()
            if ending:
                break
        records.close()
    except BaseException as error:
        if records.gi_frame is None:  # the training's own; the other processes may be anywhere
            raise
        group.end()
        # Not close, which saves: a resume must give a record out again that was not written.
        records.throw(error)
    finally:
        if board is not None:
            board.close()
    saved = trainer.position
    # What was asked at the very last record came too late.
    done = saved.epochs_done == config.epochs
    state = State.FINISHED if done else ENDINGS[ending]
    writer.update(
        state=state,
        phase="",
        step=saved.step,
        epoch=min(saved.epochs_done + 1, config.epochs),
        seconds=saved.seconds,
        eta_seconds=None,
    )
    writer.log(f"{state} at step {saved.step} of {trainer.steps}")
    return state


def fail(writer: RunWriter, error: BaseException) -> None:
    """Leave the run failed, with one line of advice in its status and the traceback in its log."""
    with contextlib.suppress(OSError):  # a full disk is a likely reason to be here
        writer.log("".join(traceback.format_exception(error)))
    with contextlib.suppress(OSError):
        writer.update(state=State.FAILED, phase="", eta_seconds=None, message=explain(error))


def explain(error: BaseException) -> str:
    """One line for a person: what went wrong, and what to try."""
    text = (str(error).strip().splitlines() or [""])[0]
    memory = isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)
    )
    if memory:
        return "out of memory: try a smaller batch size or width, or precision bf16"
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in LOST_PEER):
        return "another process of this training is gone; start it again with --resume"
    if isinstance(error, (TrainingFailed, ValueError)) and text:
        return text
    if isinstance(error, OSError):
        return f"could not write the run: {error.strerror or text}; free some space, then resume"
    if isinstance(error, KeyboardInterrupt):
        return "ended at once; the steps since the last checkpoint will be trained again"
    return f"{type(error).__name__}: {text or 'no message'} (train.log has the details)"


def release_memory() -> None:
    """Free the network's memory before the next run."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _note_start(
    writer: RunWriter, prepared: Prepared, started: Started, machine: dict[str, str | int]
) -> None:
    writer.trim(started.step, started.epochs_done)
    writer.update(
        phase="training",
        step=started.step,
        steps=started.steps,
        epoch=min(started.epochs_done + 1, prepared.config.epochs),
        epochs=prepared.config.epochs,
        seconds=started.seconds,
        best_acc=started.best_acc,
        best_epoch=started.best_epoch,
        val_is_test=prepared.splits.val_is_test,
        parameters=prepared.parameters,
        compute=machine,
    )
    images = "the test set" if prepared.splits.val_is_test else "held-out training images"
    writer.log(f"starting at step {started.step} of {started.steps}; validation on {images}")


def _note_progress(writer: RunWriter, progress: Progress) -> None:
    writer.update(
        phase=progress.phase,
        step=progress.step,
        epoch=progress.epoch,
        images_per_s=progress.images_per_s,
        batch_seconds=progress.batch_seconds,
        eta_seconds=progress.eta_seconds,
        seconds=progress.seconds,
    )


def _note_epoch(writer: RunWriter, board: SummaryWriter, record: EpochRecord) -> None:
    best = writer.status.best_acc
    changes = {"final_acc": record.val_acc, "tta_acc": record.val_acc_tta}
    if best is None or record.val_acc > best:
        changes |= {"best_acc": record.val_acc, "best_epoch": record.epoch}
    writer.update(**changes)
    scalars = {
        "lr": record.lr,
        "Train/loss": record.train_loss,
        "Train/acc": record.train_acc,
        "Val/loss": record.val_loss,
        "Val/acc": record.val_acc,
    }
    for name, value in scalars.items():
        board.add_scalar(name, value, record.epoch)
    board.flush()
    writer.log(
        f"epoch {record.epoch}: train loss {record.train_loss:.4f} acc {record.train_acc:.4f}, "
        f"val loss {record.val_loss:.4f} acc {record.val_acc:.4f}, {record.seconds:.1f} s"
    )


def _initial_weights(config: RunConfig, root: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights of the run or file that `config.pretrained` names."""
    given = Path(config.pretrained)
    for path in (given, given / "last.safetensors", root / given / "last.safetensors"):
        with contextlib.suppress(OSError):  # too long for a path
            if path.is_file():
                return load_weights(path)
    raise CheckpointError(
        f"pretrained: {config.pretrained!r} is neither a run with weights nor a .safetensors file"
    )
