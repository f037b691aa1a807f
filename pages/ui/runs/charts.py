"""Charts of several runs: overlaid curves, and accuracy against cost. Pure: no `st.` call."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from pages.ui import axes
from pages.ui.charts import DASHES, POINT, RATE_HEIGHT, TRAIN, domain, legend, spec_of, thin

MAX_DOTS = 2_000  # points of all curves together: more would slow down the browser
FEW = 40  # points of a curve that are drawn as dots on its line
LEGEND_ROW = 18  # pixels
LEGEND_CHARS = 110  # per row of the legend; more would be cut off
LEGEND_PX = 720  # their width
COSTS = {  # of the chart of accuracy against cost
    "parameters": "Parameters",
    "macs": "Multiply-adds of a forward pass, for one image",
    "seconds": "Training time (s)",
}


@dataclass(frozen=True)
class Group:
    """Runs that are drawn as one curve: one run, or the seeds of a config."""

    label: str
    color: int  # index in PALETTE
    runs: list[list[dict[str, Any]]]  # the epoch records of each
    costs: axes.Costs = axes.UNKNOWN


def overlay_rows(
    groups: list[Group],
    measure: str,
    splits: tuple[str, ...],
    by: str = "epoch",
    dots: float = MAX_DOTS,
) -> pd.DataFrame:
    """Rows for overlay_spec: x, value, low, high, series, split, best.

    measure: "accuracy", "loss" or "lr". splits: TRAIN, or another text for the validation images.
    For several runs, value is the mean, and low and high are one standard deviation (n - 1) below
    and above it, over the epochs common to all; runs without a finished epoch are ignored. For
    single runs low and high are empty; these columns are omitted if there are only single runs.
    best: whether it is a single run's epoch of the best validation accuracy. dots: points of all
    curves together, about.
    """
    rows = []
    limit = max(50, dots / max(1, len(groups) * len(splits)))
    for group in groups:
        runs = [records for records in group.runs if records]
        for split in splits if runs else ():
            field = _field(measure, split)
            tables = [_table(records, field, by, group) for records in runs]
            xs, values = (
                pd.concat([table[column] for table in tables], axis=1, join="inner")
                for column in ("x", "value")
            )
            mean, spread = values.mean(axis=1), values.std(axis=1)
            points = list(zip(xs.mean(axis=1), mean, mean - spread, mean + spread, strict=True))
            best = _best_epoch(runs[0]) if len(runs) == 1 and split not in ("", TRAIN) else None
            top = [points[i] for i, epoch in enumerate(values.index) if epoch == best]
            kept = sorted({*thin(points, limit), *top})
            rows += [(*point, group.label, split, point in top) for point in kept]
    columns = ["x", "value", "low", "high", "series", "split", "best"]
    table = pd.DataFrame(rows, columns=columns)
    return table if table["low"].notna().any() else table.drop(columns=["low", "high"])


def _best_epoch(records: list[dict[str, Any]]) -> int:
    """The first of the best, whose weights are kept."""
    return max(records, key=lambda record: record["val_acc"])["epoch"]


def _field(measure: str, split: str) -> str:
    """The field of an epoch record."""
    if measure == "lr":
        return "lr"
    key = {"accuracy": "acc", "loss": "loss"}[measure]
    return f"{'train' if split == TRAIN else 'val'}_{key}"


def _table(records: list[dict[str, Any]], field: str, by: str, group: Group) -> pd.DataFrame:
    """Position and value of each epoch record, by its number."""
    place = axes.locator(records, by, group.costs)
    last = {record["epoch"]: record for record in records}
    points = {"x": map(place, last.values()), "value": [r[field] for r in last.values()]}
    return pd.DataFrame(points, index=list(last)).sort_index()


def overlay_spec(
    rows: pd.DataFrame,
    measure: str,
    groups: list[Group],
    splits: tuple[str, ...],
    by: str = "epoch",
    log: bool = False,
) -> dict[str, Any]:
    """Curves of several groups, for rows from overlay_rows; a small one for measure "lr"."""
    counts = rows.groupby(["series", "split"]).size()
    labels = tuple((group.label, group.color) for group in groups)
    dotted = counts.min() == 1 or counts.max() <= FEW
    marks = {"banded": "low" in rows, "dotted": bool(dotted), "best": bool(rows["best"].any())}
    return build_overlay(measure, labels, splits, by, log, **marks)


@functools.lru_cache(maxsize=64)
def build_overlay(
    measure: str,
    groups: tuple[tuple[str, int], ...],
    splits: tuple[str, ...],
    by: str,
    log: bool,
    *,
    banded: bool,
    dotted: bool,
    best: bool,
) -> dict[str, Any]:
    """The cached part of overlay_spec. banded, dotted, best: what is marked."""
    empty = {"x": [0.0], "value": [0.0], "low": [0.0], "high": [0.0], "best": [False]}
    base = alt.Chart(pd.DataFrame({**empty, "series": [""], "split": [TRAIN]}))
    color, height = _color(groups, hidden=measure == "lr")
    images = splits[0] if len(splits) == 1 and measure != "lr" else ""
    base = base.encode(x=axes.x(by), color=color)
    y = axes.y(measure, log, images)
    band = base.mark_area(opacity=0.18).encode(
        y=axes.y(measure, log, images, "low"), y2="high:Q", detail="split:N"
    )
    kinds = [split for split in splits if split != TRAIN] + [TRAIN]
    kinds = kinds if len(kinds) == 2 else ["", TRAIN]
    dash = alt.StrokeDash(
        "split:N",
        scale=alt.Scale(domain=kinds, range=DASHES),
        legend=legend() if len(splits) > 1 else None,
    )
    lines = base.mark_line(strokeWidth=2).encode(y=y, strokeDash=dash)
    # No dash encoding here, or its legend would show points as well.
    told = [
        alt.Tooltip("series:N", title="Run"),
        *[alt.Tooltip("split:N", title="Measured on")] * (measure != "lr"),
        *axes.tooltips(measure, by),
    ]
    points = base.mark_point(size=24, **POINT).encode(
        y=y, opacity=alt.value(float(dotted)), tooltip=told
    )
    height = RATE_HEIGHT if measure == "lr" else 340 + height
    rings = base.transform_filter("datum.best").mark_point(size=110, filled=False, strokeWidth=2)
    layers = [*[band] * banded, lines, points, *[rings.encode(y=y, tooltip=told)] * best]
    return spec_of(alt.layer(*layers), height)


def cost_rows(runs: list[tuple[str, str, dict[str, float | None], float | None]], by: str):
    """Rows for cost_spec: x, value, series, run.

    runs: label, name, cost by key of COSTS, and final accuracy of each; those without are left out.
    """
    rows = [
        (costs[by], accuracy, label, name)
        for label, name, costs, accuracy in runs
        if accuracy is not None and costs.get(by)
    ]
    return pd.DataFrame(rows, columns=["x", "value", "series", "run"])


@functools.lru_cache(maxsize=64)
def cost_spec(by: str, groups: tuple[tuple[str, int], ...], images: str, log: bool):
    """One point per run, for cost_rows. log: a logarithmic cost axis."""
    base = alt.Chart(pd.DataFrame({"x": [0.0], "value": [0.0], "series": [""], "run": [""]}))
    scale = alt.Scale(type="log") if log else alt.Scale(zero=False, padding=20)
    color, height = _color(groups)
    x = alt.X("x:Q", title=COSTS[by], scale=scale, axis=alt.Axis(labelExpr=axes.NUMBER))
    y = axes.y("accuracy", images=images)
    points = base.mark_point(size=90, filled=True, opacity=0.9).encode(
        x=x,
        y=y,
        color=color,
        tooltip=[
            alt.Tooltip("run:N", title="Run"),
            alt.Tooltip("x:Q", title=COSTS[by], format=".4~s"),
            alt.Tooltip("value:Q", title="Accuracy", format=".2%"),
        ],
    )
    return spec_of(points, 260 + height)


def _color(groups: tuple[tuple[str, int], ...], hidden: bool = False) -> tuple[alt.Color, int]:
    """The color of each group, and the height of the legend in pixels."""
    labels = [label for label, _ in groups]
    columns = max(1, min(6, LEGEND_CHARS // (max(map(len, labels), default=0) + 6)))
    shown = {"columns": columns, "values": labels, "labelLimit": LEGEND_PX // columns}
    key = None if hidden else legend(**shown)
    scale = alt.Scale(domain=domain(list(groups)))
    height = LEGEND_ROW * math.ceil(len(labels) / columns)
    return alt.Color("series:N", scale=scale, legend=key), height
