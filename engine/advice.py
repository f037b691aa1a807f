"""Warnings about valid configs that are probably not intended."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

from torch import nn

from engine.config import SETTINGS, ModelConfig, RunConfig
from engine.models import build_on_meta
from engine.recipe import usual_lr
from engine.settings import get_field, is_used

# With fewer steps and fewer images, accuracy is likely to stay at chance level. Measured with
# `--preset minute --limit N` (n = 1): 10 % after 252 steps on 16,000 images, 72 % after 500 on
# 32,000. With its batch of 2,000 the preset speedrun needs 275 steps, on 550,000 images.
FEW_STEPS, FEW_IMAGES = 400, 50_000
HIGH_LR = 10  # times the usual rate, above which a learning rate is warned of


def warnings(
    config: RunConfig,
    train_images: int | None = None,
    required: int | None = None,
    available: int | None = None,
) -> list[str]:
    """Warnings about a config, one line each.

    train_images: number of training images per epoch. required, available: memory, in bytes, that
    training takes and that the device has. None: unknown.
    """
    found = [*_schedule_warnings(config), *_model_warnings(config.model)]
    if required and available and required > available:
        found.append(
            f"training needs about {required / 1e9:,.0f} GB of memory, this machine has "
            f"{available / 1e9:,.0f} GB; use a smaller batch size or width"
        )
    optimizer, lr = config.optim.optimizer, config.optim.lr
    if lr > HIGH_LR * (usual := usual_lr(optimizer)):
        found.append(f"learning rate {lr:g} is high for {optimizer}; {usual:g} is usual")
    if config.tta and not (config.augment.flips_any or config.augment.crop):
        found.append(
            "test-time augmentation has no effect: flip and crop are off; turn on one of them"
        )
    if train_images and not config.pretrained:
        steps = config.epochs * math.ceil(train_images / config.batch_size)
        if steps < FEW_STEPS and config.epochs * train_images < FEW_IMAGES:
            found.append(
                f"only {steps:,} optimizer steps: below about {FEW_STEPS}, accuracy may stay at "
                f"chance level; train for more epochs, use a smaller batch size or more images"
            )
    return found


def _schedule_warnings(config: RunConfig) -> Iterable[str]:
    schedule, epochs = config.schedule, config.epochs
    for milestone in schedule.milestones:
        if milestone >= epochs:
            yield f"milestone {milestone} is past the last epoch, {epochs}"
    if schedule.kind == "multi_step" and not any(m < epochs for m in schedule.milestones):
        yield (
            "the schedule has no milestone before the end: the learning rate stays constant; give "
            "milestones"
        )
    if schedule.t_max is not None and schedule.t_max != epochs:
        if schedule.t_max < epochs:
            yield f"the learning rate reaches 0 at epoch {schedule.t_max} and rises again after it"
        else:
            yield (
                f"the learning rate reaches 0 only at epoch {schedule.t_max}, but the run has "
                f"{epochs} epochs"
            )


def _model_warnings(model: ModelConfig) -> Iterable[str]:
    if model.arch.startswith("convmixer") and model.norm == "instance":
        yield (
            "convmixer ends in a norm: with instance norm its output does not depend on the "
            "image; choose another norm"
        )
    if model.norm == "group" and (counts := _single_channel_groups(model))[0]:
        alone, norms = counts
        yield (
            f"group norm has one channel per group in {alone} of {norms} layers, which is instance "
            "norm; use a larger width"
        )


@functools.lru_cache(maxsize=64)
def _single_channel_groups(model: ModelConfig) -> tuple[int, int]:
    """Number of group norms with one channel per group, and number of all group norms."""
    network = build_on_meta(**model.arguments)
    norms = [m for m in network.modules() if isinstance(m, nn.GroupNorm)]
    return sum(m.num_groups == m.num_channels for m in norms), len(norms)


def unused(config: RunConfig, given: Iterable[str]) -> list[str]:
    """Warnings about those `given` settings that have no effect in this config, one line each."""
    found = []
    for path in given:
        setting = SETTINGS[path]
        if is_used(config, setting):
            continue
        other = SETTINGS[setting.when.path]
        now = get_field(config, other.path)
        if other.kind is not bool:
            found.append(f"{setting.flag} has no effect with {other.flag} {now}")
        elif other.default:
            found.append(f"{setting.flag} has no effect with {other.flag}")
        else:
            found.append(f"{setting.flag} has no effect without {other.flag}")
    return found
