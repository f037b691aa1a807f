"""Charts of a study: rows, and specs for Vega-Lite. Pure: no `st.` call."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from engine.studies.study import Study
from pages.ui import axes
from pages.ui.charts import THEME_COLORS, legend, spec_of, thin, validation

COSTS = {  # x axes: title of the choice, title of the axis
    "epochs": ("Epochs", "Epoch"),
    "images": ("Images", "Training images seen"),
    "seconds": ("Seconds", "Training time (s)"),
    "macs": ("Multiply-adds", "Multiply-adds of all forward passes"),
}
MAX_COLUMNS = 6  # of the legend
PHONE_PX = 320  # width of a chart on a phone


@dataclass(frozen=True)
class Curve:
    """One run of a study: its value, its epoch records, and what an epoch costs."""

    value: str
    epochs: list[dict[str, Any]]
    costs: axes.Costs


def measured_on(study: Study) -> str:
    """The images that the accuracies of a study are measured on."""
    return validation(not study.base.get("data.holdout"))


def cost(curve: Curve, by: str) -> list[float]:
    """The run's cost so far at the end of each recorded epoch; by: a key of COSTS."""
    if by == "seconds":
        return pd.Series([r["seconds"] for r in curve.epochs], dtype=float).cumsum().tolist()
    place = axes.locator(curve.epochs, "epoch" if by == "epochs" else by, curve.costs)
    return [place(record) for record in curve.epochs]


def curve_rows(curves: list[Curve], by: str) -> pd.DataFrame:
    """Validation accuracy of each value: x, value, low, high, series.

    For several seeds, value is the mean over those that have the epoch, and low and high are one
    standard deviation (n − 1) below and above it; both are NaN where only one seed has it.
    """
    rows = []
    for name in dict.fromkeys(curve.value for curve in curves):
        runs = [curve for curve in curves if curve.value == name and curve.epochs]
        tables = [
            pd.DataFrame(
                {"x": cost(run, by), "value": [r["val_acc"] for r in run.epochs]},
                index=[r["epoch"] for r in run.epochs],
            )
            for run in runs
        ]
        if not tables:
            continue
        xs, values = (
            pd.concat([t[column] for t in tables], axis=1).sort_index() for column in ("x", "value")
        )
        mean, spread = values.mean(axis=1), values.std(axis=1)
        points = list(zip(xs.mean(axis=1), mean, mean - spread, mean + spread, strict=True))
        rows += [(*point, name) for point in thin(points)]
    return pd.DataFrame(rows, columns=["x", "value", "low", "high", "series"])


def published_rows(published: dict[str, float]) -> pd.DataFrame:
    """Rows of the dotted lines. published: accuracy of each value, in %."""
    rows = [(percent / 100, name) for name, percent in published.items()]
    return pd.DataFrame(rows, columns=["published", "series"])


@functools.lru_cache(maxsize=64)
def curve_spec(by: str, names: tuple[str, ...], published: bool, images: str) -> dict[str, Any]:
    """Curves by value with a band over seeds, for curve_rows followed by published_rows.

    images: those that the accuracies were measured on.
    """
    empty = {"x": [0.0], "value": [0.0], "low": [0.0], "high": [0.0], "published": [0.0]}
    base = alt.Chart(pd.DataFrame({**empty, "series": [""]}))
    color, x = _color(names), _x(by)
    fields = ("value", "low", "published")
    y, low, dots = (axes.y("accuracy", images=images, field=field) for field in fields)
    band = base.mark_area(opacity=0.18).encode(x=x, y=low, y2="high:Q", color=color)
    tooltip = _tooltips(by)
    lines = base.mark_line(strokeWidth=2).encode(x=x, y=y, color=color, tooltip=tooltip)
    points = base.mark_point(size=24, filled=True, opacity=1).encode(
        x=x, y=y, color=color, tooltip=tooltip
    )
    dotted = base.mark_rule(strokeDash=[2, 4], strokeWidth=1.5).encode(
        y=dots,
        color=color,
        tooltip=[
            alt.Tooltip("series:N", title="Value"),
            alt.Tooltip("published:Q", title="Published", format=".2%"),
        ],
    )
    return spec_of(alt.layer(band, lines, points, *[dotted] * published), _height(names, 340))


def cost_rows(curves: list[Curve], by: str) -> pd.DataFrame:
    """Latest accuracy of each run against its cost: x, value, series."""
    rows = [
        (cost(run, by)[-1], run.epochs[-1]["val_acc"], run.value) for run in curves if run.epochs
    ]
    return pd.DataFrame(rows, columns=["x", "value", "series"])


@functools.lru_cache(maxsize=64)
def cost_spec(by: str, names: tuple[str, ...], images: str) -> dict[str, Any]:
    """One point per run, for cost_rows; images: as for curve_spec."""
    base = alt.Chart(pd.DataFrame({"x": [0.0], "value": [0.0], "series": [""]}))
    points = base.mark_point(size=70, filled=True, opacity=0.9).encode(
        x=_x(by),
        y=axes.y("accuracy", images=images),
        color=_color(names),
        tooltip=_tooltips(by),
    )
    return spec_of(points, _height(names, 270))


def grid_rows(means: dict[tuple[str, str], float | None]) -> pd.DataFrame:
    """Mean accuracy of each cell of a grid, in %: first, second, value."""
    rows = [(a, b, mean) for (a, b), mean in means.items() if mean is not None]
    return pd.DataFrame(rows, columns=["first", "second", "value"])


def grid_spec(first: str, second: str) -> dict[str, Any]:
    """A heatmap for grid_rows; first, second: names of the factors."""
    base = alt.Chart(pd.DataFrame({"first": [""], "second": [""], "value": [0.0]}))
    base = base.encode(
        x=alt.X("second:N", title=second, sort=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y("first:N", title=first, sort=None),
    )
    cells = base.mark_rect().encode(
        color=alt.Color(
            "value:Q", title="Accuracy (%)", scale=alt.Scale(scheme="blues", zero=False)
        )
    )
    # A halo keeps the number readable on light and dark cells.
    halo = base.mark_text(fontSize=14, stroke="white", strokeWidth=4).encode(
        text=alt.Text("value:Q", format=".2f")
    )
    text = base.mark_text(fontSize=14, fill="black").encode(text=alt.Text("value:Q", format=".2f"))
    return spec_of(alt.layer(cells, halo, text), 260)


def _color(names: tuple[str, ...]) -> alt.Color:
    many = {"scheme": "tableau20"} if len(names) > THEME_COLORS else {}
    scale = alt.Scale(domain=list(names), **many)
    columns = alt.expr(f"clamp(floor(width / {_entry_px(names)}), 1, {MAX_COLUMNS})")
    return alt.Color("series:N", scale=scale, legend=legend(columns=columns))


def _entry_px(names: tuple[str, ...]) -> int:
    """Width of an entry of the legend, in pixels."""
    return 28 + 6 * max(map(len, names))


def _height(names: tuple[str, ...], plot: int) -> int:
    """Height of a chart in pixels, with room for the legend's rows on a phone."""
    columns = max(1, min(MAX_COLUMNS, PHONE_PX // _entry_px(names)))
    return plot + 30 * math.ceil(len(names) / columns)


def _x(by: str) -> alt.X:
    step = {"tickMinStep": 1} if by in ("epochs", "images") else {}
    return alt.X("x:Q", title=COSTS[by][1], axis=alt.Axis(labelExpr=axes.NUMBER, **step))


def _tooltips(by: str) -> list[alt.Tooltip]:
    return [
        alt.Tooltip("series:N", title="Value"),
        alt.Tooltip("x:Q", title=COSTS[by][1], format=".4~s"),
        alt.Tooltip("value:Q", title="Accuracy", format=".2%"),
    ]
