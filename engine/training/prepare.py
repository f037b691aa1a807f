"""Preparation of a run: its device, data, augmentation and initial weights, checked and loaded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine import data
from engine.augment import (
    CutMix,
    Mixup,
    Pipeline,
    RandomCrop,
    RandomErasing,
    RandomHorizontalFlip,
    normalize,
)
from engine.config import RunConfig, join_command, with_fields
from engine.data import ImageData, Progress, lineage
from engine.data.batches import Splits, split
from engine.data.lineage import Training
from engine.device import Compute, memory_bytes, resolve
from engine.errors import DataError, RunError
from engine.inputs import AugmentConfig
from engine.models import build_model, build_on_meta, whitening
from engine.models.summary import check_memory, count_parameters
from engine.randomness import Purpose, keyed_generator
from engine.runs.checkpoint import describe_model, has_checkpoint
from engine.runs.compare import data_differences
from engine.runs.folder import resume_words
from engine.runs.run import Run
from engine.training import initial, progressive
from engine.training.initial import Initial


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start: everything that could be wrong with it has been checked."""

    config: RunConfig  # with num_classes, first_epoch and stratified filled in
    info: ImageData
    splits: Splits  # on the compute device
    pipeline: Pipeline
    compute: Compute
    parameters: int  # count
    header: dict[str, str]  # of its weights' files, from describe_model
    initial: Initial | None  # weights to start from
    lineage: list[Training] | None  # of `initial`; None: unknown (an older run resumed)
    notes: list[str]  # messages on the use of the initial weights

    def dataset_info(self) -> dict[str, Any]:
        """Contents of `dataset_info` in config.json: the data set and the lineage."""
        kept = {} if self.lineage is None else {"lineage": lineage.to_dicts(self.lineage)}
        return {**self.info.describe(), **kept}


def prepare(
    config: RunConfig,
    root: Path,
    run: Run | None = None,
    *,
    device: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Prepared:
    """Resolve device, data and model. Raises ConfigError, DataError or CheckpointError.

    root: the folder of runs, where `config.pretrained` may name one. run: the run, if it exists
    already; if it has a checkpoint, initial weights are not loaded. device: overrides
    `config.device`. progress, cancelled: of a download or import; see engine.data.load. Raises
    RunError for a run whose checkpoints are gone.
    """
    compute = resolve(device or config.device, config.precision)
    parameters = count_parameters(**config.model.arguments)  # fails before a download does
    check_memory(parameters, memory_bytes(compute.device))
    if config.progressive:
        progressive.check(build_on_meta(**config.model.arguments))
    resumes = run is not None and can_resume(run)
    starts = config.pretrained is not None and not resumes
    if starts:
        initial.check(config, root)
    check_place(config, run if resumes else None)
    info = data.load(
        config.data.dataset,
        Path(config.data.root),
        fit=config.data.fit,
        url=config.data.url,
        progress=progress,
        cancelled=cancelled,
    )
    if resumes:
        _check_data(info, run)
    before = lineage.stored(run.dataset_info()) if resumes else []
    if starts:
        before = initial.find_lineage(config, root, info)
        first_epoch = lineage.epochs_done(before, info, config.seed)
        config = with_fields(config, {"first_epoch": first_epoch})
    split_kind = {} if resumes else {"data.stratified": True}  # a resumed run keeps its own split
    config = with_fields(config, {"model.num_classes": len(info.classes), **split_kind})
    prepared = Prepared(
        config=config,
        info=info,
        splits=_split(config, info, before or [], compute.device),
        pipeline=make_pipeline(config, info),
        compute=compute,
        parameters=count_parameters(**config.model.arguments),
        header=describe_model(config.model),
        initial=initial.load(config, root, info.classes) if starts else None,
        lineage=before,
        notes=initial.check(config, root, info.classes) if starts else [],
    )
    if prepared.initial:
        new_model(prepared)  # raises if the weights hold values that are not finite
    return prepared


def _split(
    config: RunConfig, info: ImageData, before: list[Training], device: torch.device
) -> Splits:
    """Split the data set, marking images that the initial weights were trained on."""
    choice = config.data
    splits = split(
        info,
        holdout=choice.holdout,
        limit=choice.limit,
        seed=config.seed,
        device=device,
        avoid=lineage.trained_on(before, info) if before else None,
        stratified=choice.stratified,
    )
    # Without splits of its own, a folder's test images are redrawn when images are added.
    may_mix = not splits.val_is_test or choice.dataset not in data.DATASETS
    if may_mix and not splits.val_seen and lineage.may_include(before, info):
        splits = dataclasses.replace(splits, val_seen=None)
    return splits


def can_resume(run: Run) -> bool:
    """Whether a run has a checkpoint; without one, and untrained, it starts at step 0.

    Raises RunError if it was trained but has no checkpoint: starting anew would drop its records.
    """
    if has_checkpoint(run.path):
        return True
    step = max([run.status().step, *(record["step"] for record in run.records()[0])])
    if step or (run.path / "best.safetensors").exists():
        raise RunError(
            f"run {run.name!r} was trained, but its checkpoints (the folder resume) are gone: "
            "bring them back, or start a new run from its last or best weights (pretrained)"
        )
    return False


def check_place(config: RunConfig, run: Run | None = None) -> None:
    """Raise DataError if own images are not where `config` has them.

    run: one that has a checkpoint, which can go on with images that were moved.
    """
    dataset = config.data.dataset
    if dataset in data.DATASETS:
        return
    try:
        data.own_path(dataset)
    except DataError as error:
        if run is None:
            raise
        command = join_command(["python", *resume_words(run), "--dataset", "NEW-PLACE"])
        raise DataError(
            f"there is nothing at {dataset} any more: put the images of run {run.name!r} back "
            f"there, then resume it (or: {command})"
        ) from error


def _check_data(info: ImageData, run: Run) -> None:
    """Raise DataError, which says what changed, unless the images are those the run began with."""
    known = run.dataset_info()
    changed = data_differences(known, info.describe()) if known else []
    if changed:
        raise DataError(
            f"the images of {info.name} are not those that run {run.name!r} began with: bring "
            "those back, or start a new run from its weights (pretrained). Changed: "
            f"{'; '.join(changed)}"
        )


def make_pipeline(config: RunConfig, info: ImageData) -> Pipeline:
    """The augmentations that a config enables, with a data set's mean and std."""
    augment = config.augment
    return Pipeline(
        crop=RandomCrop(augment.crop_padding, augment.crop_reflect) if augment.crop else None,
        flip=RandomHorizontalFlip(augment.flip_p) if augment.flip else None,
        erasing=_eraser(augment) if augment.erasing else None,
        mixup=Mixup(augment.mixup_alpha) if augment.mixup else None,
        cutmix=CutMix(augment.cutmix_alpha) if augment.cutmix else None,
        mean=info.mean,
        std=info.std,
    )


def _eraser(augment: AugmentConfig) -> RandomErasing:
    area = augment.erase_area_min, augment.erase_area_max
    return RandomErasing(augment.erase_p, area, (augment.erase_ratio_min, augment.erase_ratio_max))


def new_model(prepared: Prepared) -> torch.nn.Module:
    """The model at step 0, on the CPU: initialized by the seed, or with the initial weights."""
    config = prepared.config
    if prepared.initial:
        return initial.make_model(prepared.initial, config.model, config.seed)
    model = build_model(**config.model.arguments, seed=config.seed)
    if layer := whitening.find(model):
        layer.fit(normalize(_whitening_images(prepared), prepared.info.mean, prepared.info.std))
    return model


def _whitening_images(prepared: Prepared) -> Tensor:
    """A random sample of training images: class folders are sorted by class."""
    images = prepared.splits.train_images
    generator = keyed_generator(prepared.config.seed, Purpose.WHITENING)
    indices = torch.randperm(len(images), generator=generator)[: whitening.IMAGES]
    return images[indices.to(images.device)].cpu()
