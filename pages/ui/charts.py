"""Chart specs, and chart rows computed from records. Pure: no `st.` call.

A spec is built once and stays byte-identical while rows stream in, so that a live chart is updated
in place, without flicker. Colors come from the theme, in the order of a fixed domain.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import altair as alt
import pandas as pd

from engine import schedules
from engine.config import OptimConfig, ScheduleConfig

MAX_DOTS = 2_000  # per chart
THEME_COLORS = 8  # with more series, colors would repeat
LEGEND_ROW = 18  # pixels
LEGEND_CHARS = 110  # per row of the legend; more would be cut off
MAX_POINTS = 600  # per series; more would not be visible, and slow to draw
SPLITS = ["train", "validation"]
AXES = {"accuracy": "Accuracy", "loss": "Loss", "lr": "Learning rate"}
DASHES = [[1, 0], [5, 4]]


@functools.cache
def curve_spec(measure: str, by: str, log: bool = False) -> dict[str, Any]:
    """Train and validation curves of one run. Rows: x, value, series (one of SPLITS)."""
    base = alt.Chart(pd.DataFrame({"x": [0.0], "value": [0.0], "series": ["train"]}))
    base = base.encode(
        x=alt.X("x:Q", title=by.capitalize(), axis=alt.Axis(tickMinStep=1, format="~s")),
        y=_y(measure, log),
        color=alt.Color("series:N", scale=alt.Scale(domain=SPLITS), legend=legend()),
        tooltip=_tooltips(measure, by),
    )
    # By step, only validation shows points: it is measured once per epoch, and a single value draws
    # no line. The others are transparent, not filtered out: an empty layer makes Vega log warnings.
    shown = "true" if by == "epoch" else "datum.series === 'validation'"
    points = base.mark_point(size=18, filled=True).encode(
        opacity=alt.when(shown).then(alt.value(1)).otherwise(alt.value(0))
    )
    return spec_of(alt.layer(base.mark_line(strokeWidth=2), points))


@functools.cache
def line_spec(measure: str, by: str = "epoch", log: bool = False) -> dict[str, Any]:
    """One line without a legend, such as the learning rate. Rows: x, value."""
    base = alt.Chart(pd.DataFrame({"x": [0.0], "value": [0.0]}))
    chart = base.mark_line(strokeWidth=2).encode(
        x=alt.X("x:Q", title=by.capitalize(), axis=alt.Axis(format="~s")),
        y=_y(measure, log),
        tooltip=_tooltips(measure, by)[1:],
    )
    return spec_of(chart, height=180)


def overlay_spec(
    rows: pd.DataFrame, measure: str, names: tuple[str, ...], log: bool = False
) -> dict[str, Any]:
    """Curves of several runs or groups, for rows from overlay_rows.

    With bands if the rows have any. With points if there are few, as thousands slow down the
    browser, or if a curve has a single epoch, which a line would not show.
    """
    lone = not rows.duplicated(["series", "split"], keep=False).all()
    dotted = lone or len(rows) <= MAX_DOTS
    return build_overlay(measure, names, log, "low" in rows, dotted)


@functools.lru_cache(maxsize=64)
def build_overlay(
    measure: str, names: tuple[str, ...], log: bool, banded: bool, dotted: bool
) -> dict[str, Any]:
    """The cached part of overlay_spec. banded, dotted: with bands, with points."""
    empty = {"x": [0.0], "value": [0.0], "low": [0.0], "high": [0.0]}
    base = alt.Chart(pd.DataFrame({**empty, "series": [""], "split": ["train"]}))
    many = {"scheme": "tableau20"} if len(names) > THEME_COLORS else {}
    columns = max(1, min(6, LEGEND_CHARS // (max(map(len, names)) + 6)))
    scale, key = alt.Scale(domain=list(names), **many), legend(columns=columns)
    color = alt.Color("series:N", scale=scale, legend=key)
    x = alt.X("x:Q", title="Epoch", axis=alt.Axis(tickMinStep=1, format="~s"))
    band = base.mark_area(opacity=0.18).encode(
        x=x, y=alt.Y("low:Q", title=AXES[measure]), y2="high:Q", color=color, detail="split:N"
    )
    dash = alt.StrokeDash(
        "split:N", scale=alt.Scale(domain=SPLITS[::-1], range=DASHES), legend=legend()
    )
    lines = base.mark_line(strokeWidth=2).encode(
        x=x,
        y=_y(measure, log),
        color=color,
        strokeDash=dash,
        tooltip=[alt.Tooltip("series:N", title="Run"), *_tooltips(measure, "epoch", "split")],
    )
    # No dash encoding here, or its legend would show points as well.
    points = base.mark_point(size=24, filled=True, opacity=1).encode(
        x=x, y=_y(measure, log), color=color
    )
    height = 340 + LEGEND_ROW * math.ceil(len(names) / columns)
    return spec_of(alt.layer(*[band] * banded, *[points] * dotted, lines), height)


def run_rows(
    records: list[dict[str, Any]], measure: str, by: str, smoothing: float = 0.0
) -> pd.DataFrame:
    """Rows for curve_spec from a run's records, by "epoch" or by "step".

    Only the noisy train curve is smoothed; validation is shown as measured.
    """
    key = {"accuracy": "acc", "loss": "loss"}[measure]
    epochs = [r for r in records if r["kind"] == "epoch"]
    x = "epoch" if by == "epoch" else "step"
    validation = [(r[x], r[f"val_{key}"]) for r in epochs]
    if by == "epoch":
        train = [(r["epoch"], r[f"train_{key}"]) for r in epochs]
    else:
        train = [(r["step"], r[key]) for r in records if r["kind"] == "step"]
    rows = []
    for series, points in zip(SPLITS, (smooth(train, smoothing), validation), strict=True):
        rows += [(x, value, series) for x, value in thin(points)]
    return pd.DataFrame(rows, columns=["x", "value", "series"])


def value_rows(records: list[dict[str, Any]], kind: str, field: str) -> pd.DataFrame:
    """Rows for line_spec: `field` of each "step" or "epoch" record (`kind`) against its number."""
    points = [(r[kind], r[field]) for r in records if r["kind"] == kind]
    return pd.DataFrame(thin(points), columns=["x", "value"])


def curve_rows(schedule: ScheduleConfig, optim: OptimConfig, epochs: int) -> pd.DataFrame:
    """Rows for line_spec of the learning rate that a run would follow."""
    return pd.DataFrame(schedules.curve(schedule, optim, epochs), columns=["x", "value"])


def overlay_rows(
    groups: dict[str, list[list[dict[str, Any]]]], measure: str, splits: tuple[str, ...]
) -> pd.DataFrame:
    """Rows for overlay_spec: x, value, low, high, series, split.

    groups: label -> the epoch records of each of its runs. For several runs, value is the mean, and
    low and high are one standard deviation (n - 1) below and above it, over the epochs common to
    all; runs without a finished epoch are ignored. For single runs low and high are empty; these
    columns are omitted if there are only single runs.
    """
    key = {"accuracy": "acc", "loss": "loss"}[measure]
    rows = []
    for label, runs in groups.items():
        for split in splits:
            field = f"{'train' if split == 'train' else 'val'}_{key}"
            curves = [{r["epoch"]: r[field] for r in records} for records in runs if records]
            shared = sorted(set.intersection(*map(set, curves))) if curves else []
            table = pd.DataFrame({i: [c[e] for e in shared] for i, c in enumerate(curves)})
            mean, spread = table.mean(axis=1), table.std(axis=1)
            points = zip(shared, mean, mean - spread, mean + spread, strict=True)
            rows += [(*point, label, split) for point in points]
    table = pd.DataFrame(rows, columns=["x", "value", "low", "high", "series", "split"])
    return table if table["low"].notna().any() else table.drop(columns=["low", "high"])


def smooth(points: list[tuple[float, float]], amount: float) -> list[tuple[float, float]]:
    """Bias-corrected exponential moving average. amount: 0 (no smoothing) to below 1."""
    if not amount:
        return points
    smoothed, average, weight = [], 0.0, 0.0
    for x, value in points:
        average = amount * average + (1 - amount) * value
        weight = amount * weight + (1 - amount)
        smoothed.append((x, average / weight))
    return smoothed


def thin(points: list[tuple], limit: int = MAX_POINTS) -> list[tuple]:
    """At most `limit` points: the lowest and highest of each bucket, so that no spike is lost."""
    if len(points) <= limit:
        return points
    size = math.ceil(len(points) / (limit // 2))
    kept = []
    for start in range(0, len(points), size):
        bucket = points[start : start + size]
        extremes = {min(bucket, key=lambda p: p[1]), max(bucket, key=lambda p: p[1])}
        kept += sorted(extremes)
    return kept


def _y(measure: str, log: bool) -> alt.Y:
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    form = ".4~p" if measure == "accuracy" else "~g"
    return alt.Y("value:Q", title=AXES[measure], scale=scale, axis=alt.Axis(format=form))


def _tooltips(measure: str, by: str, series: str = "series") -> list[alt.Tooltip]:
    form = ".2%" if measure == "accuracy" else ".4g"
    return [
        alt.Tooltip(f"{series}:N", title="Images"),
        alt.Tooltip("x:Q", title=by.capitalize()),
        alt.Tooltip("value:Q", title=AXES[measure], format=form),
    ]


def legend(**more: Any) -> alt.Legend:
    return alt.Legend(title=None, orient="top", labelLimit=260, symbolOpacity=1, **more)


def spec_of(chart: alt.Chart | alt.LayerChart, height: int = 280) -> dict[str, Any]:
    """The chart's spec without example data, whose generated names differ between builds."""
    spec = chart.properties(height=height, width="container").to_dict()
    for name in ("data", "datasets", "config", "$schema"):
        spec.pop(name, None)
    return spec
