"""Plan of a study: what fits into the time there is. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from engine.config import RunConfig
from engine.errors import ConfigError
from engine.studies.rates import trainings
from engine.studies.study import Factor, Study, Value

START_S = 0.4  # to start and end a run, with its files; measured by bench.study
MIN_EPOCHS = 8  # below that, width and then training images are cut first
WIDTHS = (1.0, 0.5, 0.25, 0.125)  # times the base's width
SHARES = (1.0, 0.5, 0.25, 0.1, 0.05)  # of the training images


@dataclass(frozen=True)
class Costs:
    """What runs cost on a machine."""

    epoch_seconds: Callable[[RunConfig], float]
    images: Callable[[RunConfig], int]  # number of training images


@dataclass(frozen=True)
class Plan:
    """A study that fits into the time given."""

    study: Study
    rows: list[tuple[str, float]]  # name and seconds of each value, over all its trainings
    seconds: float
    cuts: list[str]  # what was cut, in sentences


def plan(study: Study, costs: Costs, seconds: float | None) -> Plan:
    """Cut width, training images and epochs, the same for every value, to fit into `seconds`.

    A setting that a value sets itself is not cut.
    """
    whole = study.config(study.rows()[0], study.seeds[0])
    if seconds is None or _total(study, costs) <= seconds:
        return _priced(study, costs, whole)
    varied = {path for row in study.rows() for path in row.settings}
    widths = WIDTHS if "model.width" not in varied else WIDTHS[:1]
    for share in SHARES:
        for width in widths:
            cut = _scaled(study, whole, costs, width, share, varied)
            epochs = _epochs(cut, costs, seconds)
            smallest = share == SHARES[-1] and width == widths[-1]
            if epochs >= min(MIN_EPOCHS, whole.epochs) or smallest:
                epochs = max(1, min(epochs, whole.epochs))
                if "epochs" not in varied:
                    cut = dataclasses.replace(cut, base={**cut.base, "epochs": epochs})
                    if cut.equal == "time":
                        cut = _equal_time(cut, costs, seconds, whole.epochs)
                return _priced(cut, costs, whole)
    raise AssertionError("the smallest cut is always taken")


def _scaled(
    study: Study, whole: RunConfig, costs: Costs, width: float, share: float, varied: set
) -> Study:
    changes: dict[str, Any] = {}
    if width < 1:
        changes["model.width"] = whole.model.width * width
    if share < 1 and "data.limit" not in varied:
        images = costs.images(whole)
        changes["data.limit"] = min(images, max(whole.batch_size, round(images * share)))
    return dataclasses.replace(study, base={**study.base, **changes})


def _configs(study: Study) -> list[RunConfig]:
    return [study.config(row, study.seeds[0]) for row in study.rows()]


def _epochs(study: Study, costs: Costs, seconds: float) -> int:
    """Epochs that fit into the time, the same for every value."""
    configs, seeds = _configs(study), trainings(study)
    free = seconds - START_S * len(configs) * seeds
    return math.floor(free / (seeds * sum(map(costs.epoch_seconds, configs))))


def _equal_time(study: Study, costs: Costs, seconds: float, most: int) -> Study:
    """Give every value the same time; its epochs then belong to it."""
    share = seconds / len(study.rows()) / trainings(study) - START_S
    if len(study.factors) > 1:
        raise ConfigError("equal", "equal time needs a study with one factor")
    values = []
    for value, config in zip(study.factors[0].values, _configs(study), strict=True):
        epochs = max(1, min(most, math.floor(share / costs.epoch_seconds(config))))
        values.append(Value(value.name, {**value.settings, "epochs": epochs}, value.published))
    return dataclasses.replace(study, factors=(Factor(study.factors[0].name, tuple(values)),))


def _total(study: Study, costs: Costs) -> float:
    seeds = trainings(study)
    return sum(seeds * (START_S + c.epochs * costs.epoch_seconds(c)) for c in _configs(study))


def _priced(study: Study, costs: Costs, whole: RunConfig) -> Plan:
    seeds, configs = trainings(study), _configs(study)
    times = [seeds * (START_S + config.epochs * costs.epoch_seconds(config)) for config in configs]
    names = [row.name for row in study.rows()]
    return Plan(
        study, list(zip(names, times, strict=True)), sum(times), _cuts(configs, whole, costs)
    )


def _cuts(configs: list[RunConfig], whole: RunConfig, costs: Costs) -> list[str]:
    first, parts = configs[0], []
    if first.model.width < whole.model.width:
        parts.append(f"width {first.model.width:g} instead of {whole.model.width:g}")
    if first.data.limit and first.data.limit != whole.data.limit:
        images = costs.images(whole)
        parts.append(f"{first.data.limit:,} of {images:,} training images")
    epochs = sorted({config.epochs for config in configs})
    if epochs[0] < whole.epochs:
        parts.append(
            f"{' to '.join(map(str, {epochs[0]: 0, epochs[-1]: 0}))} of {whole.epochs} epochs"
        )
    return [f"Reduced to fit the time, for every value: {', '.join(parts)}."] if parts else []
