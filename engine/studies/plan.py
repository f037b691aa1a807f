"""Plan of a study: what fits into the time there is. Pure."""

from __future__ import annotations

import dataclasses
import itertools
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
TOO_LONG = "The smallest plan on offer takes longer than the time given."


@dataclass(frozen=True)
class Costs:
    """What runs cost on a machine."""

    epoch_seconds: Callable[[RunConfig], float]
    test_seconds: Callable[[RunConfig], float]  # of one pass over the test images
    images: Callable[[RunConfig], int]  # number of training images
    devices: int = 1  # that train at once


@dataclass(frozen=True)
class Plan:
    """A study that fits into the time given."""

    study: Study
    rows: list[tuple[str, float]]  # name and seconds of each value, over all its trainings
    seconds: float  # until the last training has ended; with one device, the sum of the rows
    cuts: list[str]  # what was cut, in sentences


def plan(study: Study, costs: Costs, seconds: float | None) -> Plan:
    """Cut width, training images and epochs, the same for every value, to fit into `seconds`.

    A setting that a value sets itself is not cut. With equal time, every value gets the epochs that
    fit into its share of the time, or into the full recipe of the value that needs the least.
    Raises ConfigError for equal time with two factors.
    """
    fitting = study if seconds is None else _cut(study, costs, seconds)
    if study.equal == "time" and "epochs" not in _varied(study):
        fitting = _equal_time(study, fitting, costs, seconds)
    found = price(fitting, costs)
    cuts = _cuts(study, fitting, costs)
    if seconds is not None and found.seconds > seconds:
        cuts.append(TOO_LONG)
    return dataclasses.replace(found, cuts=cuts)


def price(study: Study, costs: Costs) -> Plan:
    """The plan for a study as it is."""
    each = [training.seconds(training.epochs) for training in _measure(study, costs)]
    names = [row.name for row in study.rows()]
    rows = [(name, trainings(study) * s) for name, s in zip(names, each, strict=True)]
    return Plan(study, rows, _total(study, costs, each), [])


@dataclass(frozen=True)
class _Training:
    """What one training of a value takes."""

    fixed: float  # seconds, whatever the number of epochs
    epoch: float  # seconds
    epochs: int

    def seconds(self, epochs: int) -> float:
        return self.fixed + epochs * self.epoch


def _measure(study: Study, costs: Costs) -> list[_Training]:
    """One training of each value."""
    found = []
    for config in (study.config(row, study.seeds[0]) for row in study.rows()):
        # With held-out images, a run ends with a pass over the test images.
        test = costs.test_seconds(config) if config.data.holdout else 0.0
        found.append(_Training(START_S + test, costs.epoch_seconds(config), config.epochs))
    return found


def _total(study: Study, costs: Costs, each: list[float]) -> float:
    """Seconds until the last training has ended; each: seconds of a training of each value.

    A training begins on the first device that is free, as the worker assigns them.
    """
    ends = [0.0] * _devices(study, costs)
    for seconds in each * trainings(study):
        ends[ends.index(min(ends))] += seconds
    return max(ends)


def _devices(study: Study, costs: Costs) -> int:
    asked = study.config(study.rows()[0], study.seeds[0]).device
    return costs.devices if asked == "auto" else 1


def _varied(study: Study) -> set[str]:
    return {path for row in study.rows() for path in row.settings}


def _cut(study: Study, costs: Costs, seconds: float) -> Study:
    """The study with the first cut that fits into the time, or else with the smallest."""
    if price(study, costs).seconds <= seconds:
        return study
    widths = WIDTHS if "model.width" not in _varied(study) else WIDTHS[:1]
    shares = SHARES if "data.limit" not in _varied(study) else SHARES[:1]
    for share, width in itertools.product(shares, widths):
        cut = _scaled(study, costs, width, share)
        smallest = (share, width) == (shares[-1], widths[-1])
        if (found := _with_epochs(cut, costs, seconds, 1 if smallest else MIN_EPOCHS)) is not None:
            return found
    return cut if "epochs" in _varied(study) else _based(cut, epochs=1)


def _scaled(study: Study, costs: Costs, width: float, share: float) -> Study:
    whole = study.config(study.rows()[0], study.seeds[0])
    changes: dict[str, Any] = {}
    if width < 1:
        changes["model.width"] = whole.model.width * width
    if share < 1:
        images = costs.images(whole)
        changes["data.limit"] = min(images, max(whole.batch_size, round(images * share)))
    return _based(study, **changes)


def _based(study: Study, **changes: Any) -> Study:
    """The study with settings of its base changed."""
    return dataclasses.replace(study, base={**study.base, **changes})


def _with_epochs(study: Study, costs: Costs, seconds: float, least: int) -> Study | None:
    """The study with as many epochs as fit into the time, the same for every value.

    None if fewer than `least` fit, or those that the values have themselves.
    """
    measured = _measure(study, costs)

    def fits(epochs: int | None) -> bool:
        each = [training.seconds(epochs or training.epochs) for training in measured]
        return _total(study, costs, each) <= seconds

    if "epochs" in _varied(study):
        return study if fits(None) else None
    low, high = 0, measured[0].epochs + 1  # the most that are known to fit; too many
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return _based(study, epochs=low) if low >= min(least, measured[0].epochs) else None


def _equal_time(whole: Study, study: Study, costs: Costs, seconds: float | None) -> Study:
    """Give every value the same time; its epochs then belong to it."""
    if len(study.factors) > 1:
        raise ConfigError("equal", "equal time needs a study with one factor")
    most = whole.config(whole.rows()[0], whole.seeds[0]).epochs
    measured = _measure(study, costs)
    share = min(training.seconds(most) for training in measured)
    if seconds is not None:
        runs = len(measured) * trainings(study)
        share = min(share, seconds / math.ceil(runs / _devices(study, costs)))
    values = []
    for value, training in zip(study.factors[0].values, measured, strict=True):
        # Rounded up in the last digits: a share made of whole epochs holds them.
        fitting = math.floor((share - training.fixed) / training.epoch + 1e-9)
        settings = {**value.settings, "epochs": max(1, min(most, fitting))}
        values.append(Value(value.name, settings, value.published))
    return dataclasses.replace(study, factors=(Factor(study.factors[0].name, tuple(values)),))


def _cuts(whole: Study, cut: Study, costs: Costs) -> list[str]:
    """What `cut` has less of than `whole`, in sentences."""
    before, after = (
        [study.config(row, study.seeds[0]) for row in study.rows()] for study in (whole, cut)
    )
    first, parts = after[0], []
    if first.model.width < before[0].model.width:
        parts.append(f"width {first.model.width:g} instead of {before[0].model.width:g}")
    if first.data.limit != before[0].data.limit:
        parts.append(f"{first.data.limit:,} of {costs.images(before[0]):,} training images")
    epochs = sorted({config.epochs for config in after})
    shorter = epochs != sorted({config.epochs for config in before})
    if shorter and len(epochs) == 1:
        parts.append(f"{epochs[0]} of {before[0].epochs} epochs")
    found = [f"Reduced to fit the time, for every value: {', '.join(parts)}."] if parts else []
    if shorter and len(epochs) > 1:
        found.append(
            f"The same time for every value: {epochs[0]} to {epochs[-1]} of {before[0].epochs} "
            "epochs."
        )
    return found
