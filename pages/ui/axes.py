"""Axes of charts: what a run's curves are drawn against, and how numbers are written. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np

from engine.training import progressive

Record = dict[str, Any]

X_AXES = {  # title of the choice, title of the axis
    "epoch": ("Epochs", "Epoch"),
    "step": ("Steps", "Step"),
    "images": ("Images", "Training images seen"),
    "seconds": ("Seconds", "Training time (s)"),
    "macs": ("Multiply-adds", "Multiply-adds of all forward passes"),
}
LONG_EPOCHS = 10  # from which a run is drawn by epoch unless the user chooses
MEASURES = {"accuracy": "Accuracy", "loss": "Loss", "lr": "Learning rate"}
# Vega expressions for labels: formats alone write 10 as "1e+1" and 100 as "0.1k" on some axes. An
# empty label is one that a logarithmic axis omits.
PLAIN = "datum.label ? (abs(datum.value) < 1000 ? format(datum.value, '.4~g') : {big}) : ''"
# Beyond "T" (1e12), prefixes that nobody reads: the loss of a diverged run.
BIG = "format(datum.value, abs(datum.value) < 1e15 ? '.4~s' : '.1~e')"
NUMBER = PLAIN.format(big=BIG)
RATE = (
    "!datum.label ? '' : !datum.value ? '0' : "
    "datum.value < 1e-4 ? format(datum.value, '.3~e') : format(datum.value, '.4~g')"
)
PERCENT = "datum.label ? format(100 * datum.value, '.4~g') + ' %' : ''"
LABELS = {"lr": RATE, "loss": NUMBER, "accuracy": PERCENT}
# Of every chart: formats such as ".2%" then write "82.25 %", as the texts do.
NUMBERS = {
    **{"decimal": ".", "thousands": ",", "grouping": [3], "currency": ["$", ""]},
    "percent": " %",
}
CONFIG = {"locale": {"number": NUMBERS}}
TOOLTIPS = {"accuracy": ".2%", "loss": ".4~g", "lr": ".3~g"}


def usual(epochs: int) -> str:
    """The x axis of a run of so many epochs unless the user chooses: "epoch" or "step"."""
    return "epoch" if epochs >= LONG_EPOCHS else "step"


@dataclass(frozen=True)
class Costs:
    """What the steps of a run cost."""

    batch: int = 1  # images per step
    images: int | None = None  # per epoch, whose last batch may be smaller; None: not known
    macs: float = 0.0  # multiply-adds of an image's forward pass, at full size
    progressive_steps: int = 0  # of a whole run that begins with smaller images; 0: full size

    def seen(self, step: int) -> int:
        """Training images seen after so many steps."""
        if not self.images:
            return step * self.batch
        epochs, rest = divmod(step, math.ceil(self.images / self.batch))
        return epochs * self.images + min(rest * self.batch, self.images)

    def spent(self, step: int) -> float:
        """Multiply-adds of all forward passes after so many steps."""
        total = self.progressive_steps
        if not total:
            return self.seen(step) * self.macs
        share = progressive.cost() - progressive.cost(done=min(1.0, step / total))
        return self.seen(total) * self.macs * share


UNKNOWN = Costs()


def locator(records: list[Record], by: str, costs: Costs) -> Callable:
    """A function that gives the position of a record on the x axis `by`, a key of X_AXES.

    records: all of the run.
    """
    if by == "seconds":
        steps, seconds = _clock(records, costs.batch)
        return lambda record: float(np.interp(record["step"], steps, seconds))
    if by in ("images", "macs"):
        measure = costs.seen if by == "images" else costs.spent
        return lambda record: measure(record["step"])
    return lambda record: record[by]


def _clock(records: list[Record], batch: int) -> tuple[list[int], list[float]]:
    """Steps, and the training time in seconds at each: known at the end of epochs.

    In the epoch that goes on, the time follows from the speed of its latest step.
    """
    steps, seconds = [0], [0.0]
    for record in records:
        if record["kind"] == "epoch":
            steps.append(record["step"])
            seconds.append(seconds[-1] + record.get("seconds", 0.0))
    last = records[-1] if records else {}
    if last.get("images_per_s") and last["step"] > steps[-1]:
        seconds.append(seconds[-1] + (last["step"] - steps[-1]) * batch / last["images_per_s"])
        steps.append(last["step"])
    return steps, seconds


def x(by: str) -> alt.X:
    whole = {"tickMinStep": 1} if by in ("epoch", "step", "images") else {}
    return alt.X(
        "x:Q", title=X_AXES[by][1], axis=alt.Axis(labelExpr=NUMBER, labelOverlap=True, **whole)
    )


def y(measure: str, log: bool = False, images: str = "", field: str = "value") -> alt.Y:
    """images: those that an accuracy or loss was measured on, named in the title."""
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    title = f"{MEASURES[measure]} on {images}" if images else MEASURES[measure]
    return alt.Y(f"{field}:Q", title=title, scale=scale, axis=alt.Axis(labelExpr=LABELS[measure]))


def tooltips(measure: str, by: str) -> list[alt.Tooltip]:
    """Position and value of a point."""
    # Whole positions in full, others with one digit.
    form = ",.1~f" if by == "seconds" else ".5~s" if by == "macs" else ",~f"
    return [
        alt.Tooltip("x:Q", title=X_AXES[by][1], format=form),
        alt.Tooltip("value:Q", title=MEASURES[measure], format=TOOLTIPS[measure]),
    ]
