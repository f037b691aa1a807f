"""Chart specs, and chart rows computed from records. Pure: no `st.` call.

A spec is built once and stays byte-identical while rows stream in, so that a live chart is updated
in place, without flicker. Colors come from the theme, in the order of a fixed domain.
"""

from __future__ import annotations

import functools
import math
import zlib
from typing import Any

import altair as alt
import pandas as pd

from engine import schedules
from engine.config import OptimConfig, ScheduleConfig
from pages.ui import axes

THEME_COLORS = 8  # distinct ones; with more series, further colors of PALETTE
MAX_POINTS = 600  # per series; more would not be visible, and slow to draw
RATE_HEIGHT = 150  # pixels, with its axis
TRAIN = "training images"
# The colors of the light theme in .streamlit/config.toml, for charts outside the page.
PALETTE = (
    *("#3829d1", "#e37112", "#29a65f", "#642c94", "#7f1a29", "#0199ca", "#864900", "#c72b7b"),
    *("#1e3a8a", "#7c2d12", "#14532d", "#c026d3", "#dc2626", "#155e75", "#78716c", "#831843"),
    *("#4d7c0f", "#475569", "#6366f1", "#0f766e"),
)
DASHES = [[1, 0], [5, 4]]  # of validation and training
# Points show their value under the pointer. The invisible stroke makes them easy to hit; a line
# would show the value of its first point.
POINT = {"filled": True, "stroke": "transparent", "strokeWidth": 12}


def validation(is_test: bool) -> str:
    """The images that a run was validated on, as series of charts and in texts."""
    return "test images" if is_test else "held-out images"


def colors(names: list[str]) -> dict[str, int]:
    """An index in PALETTE for each of up to len(PALETTE) runs, no two alike.

    It follows from the run's name, so that a run keeps its color; where two names ask for the same,
    the second takes the next one that is free. The first THEME_COLORS are used first.
    """
    taken: dict[str, int] = {}
    for name in sorted(names):
        wanted = zlib.crc32(name.encode())
        few = [(wanted + i) % THEME_COLORS for i in range(THEME_COLORS)]
        order = [*few, *range(THEME_COLORS, len(PALETTE))]
        taken[name] = next(i for i in order if i not in taken.values())
    return taken


def domain(groups: list[tuple[str, int]]) -> list[str]:
    """The labels, each at the index of its color; other places hold strings that are not drawn.

    Colors then come from the theme, by place. groups: label and color of each.
    """
    labels = {color: label for label, color in groups}
    return [labels.get(i, f"\N{ZERO WIDTH SPACE}{i}") for i in range(len(PALETTE))]


@functools.cache
def curve_spec(
    measure: str,
    by: str,
    log: bool = False,
    *,
    on: str = "test images",
    best: bool = False,
    slot: int = 0,
) -> dict[str, Any]:
    """Train and validation curves of one run. Rows: x, value, series, best.

    by: a key of axes.X_AXES. on: the validation images. best: mark the row whose `best` is true.
    slot: the run's color, an index in PALETTE; the training curve is dashed and paler.
    """
    empty = {"x": [0.0], "value": [0.0], "series": [TRAIN], "best": [False]}
    base = _alone(empty, slot).encode(x=axes.x(by), y=axes.y(measure, log), detail="series:N")
    kinds = {"scale": alt.Scale(domain=[on, TRAIN], range=DASHES), "legend": legend(symbolSize=500)}
    told = [alt.Tooltip("series:N", title="Measured on"), *axes.tooltips(measure, by)]
    # By step, only validation shows points: it is measured once per epoch, and a single value draws
    # no line. The others are transparent, not filtered out: an empty layer makes Vega log warnings.
    shown = "true" if by == "epoch" else f"datum.series === '{on}'"
    points = base.mark_point(size=18, **POINT).encode(
        opacity=alt.when(shown).then(alt.value(1)).otherwise(alt.value(0)), tooltip=told
    )
    pale = alt.when(f"datum.series === '{TRAIN}'").then(alt.value(0.6)).otherwise(alt.value(1))
    # Thin where it has every batch, whose noise would hide the validation curve.
    noisy = "false" if by == "epoch" else f"datum.series === '{TRAIN}'"
    width = alt.when(noisy).then(alt.value(1)).otherwise(alt.value(2))
    lines = base.mark_line(strokeJoin="round").encode(
        strokeWidth=width, strokeDash=alt.StrokeDash("series:N", **kinds), opacity=pale
    )
    layers = [lines, points]
    if best:
        top = base.transform_filter("datum.best").encode(tooltip=told)
        layers.append(top.mark_point(size=120, filled=False, strokeWidth=2))
        layers.append(top.mark_text(text="best", dy=-13, fontSize=12))
    return spec_of(alt.layer(*layers))


@functools.cache
def line_spec(measure: str, by: str = "epoch", height: int = 180, slot: int = 0) -> dict[str, Any]:
    """One line without a legend, such as the learning rate. Rows: x, value. slot: its color."""
    base = _alone({"x": [0.0], "value": [0.0]}, slot).encode(x=axes.x(by), y=axes.y(measure))
    points = base.mark_point(size=18, **POINT).encode(
        opacity=alt.value(0), tooltip=axes.tooltips(measure, by)
    )
    return spec_of(alt.layer(base.mark_line(strokeWidth=2), points), height)


def run_rows(
    records: list[dict[str, Any]],
    measure: str,
    by: str,
    smoothing: float = 0.0,
    on: str = "test images",
    costs: axes.Costs = axes.UNKNOWN,
    limit: float = MAX_POINTS,
) -> pd.DataFrame:
    """Rows for curve_spec from a run's records.

    By epoch, the train curve is the mean of each epoch, else it has every recorded step. Only the
    train curve is smoothed; validation is shown as measured. limit: points of a curve, at most.
    """
    key = {"accuracy": "acc", "loss": "loss"}[measure]
    place = axes.locator(records, by, costs)
    epochs = [r for r in records if r["kind"] == "epoch"]
    tested = thin([(place(r), r[f"val_{key}"]) for r in epochs], limit)
    if by == "epoch":
        train = [(place(r), r[f"train_{key}"]) for r in epochs]
    else:
        train = [(place(r), r[key]) for r in records if r["kind"] == "step"]
    rows = [(*point, TRAIN, False) for point in thin(smooth(train, smoothing), limit)]
    if epochs:
        # The first of equals, whose weights are kept.
        best = max(epochs, key=lambda r: r["val_acc"])
        top = (place(best), best[f"val_{key}"])
        rows += [(*point, on, point == top) for point in sorted({*tested, top})]
    return pd.DataFrame(rows, columns=["x", "value", "series", "best"])


def rate_rows(
    records: list[dict[str, Any]],
    by: str,
    costs: axes.Costs = axes.UNKNOWN,
    limit: float = MAX_POINTS,
) -> pd.DataFrame:
    """Rows for line_spec: the learning rate of each recorded step, or at the end of each epoch.

    limit: points, at most.
    """
    place, kind = axes.locator(records, by, costs), "epoch" if by == "epoch" else "step"
    points = [(place(r), r["lr"]) for r in records if r["kind"] == kind]
    return pd.DataFrame(thin(points, limit), columns=["x", "value"])


def curve_rows(schedule: ScheduleConfig, optim: OptimConfig, epochs: int) -> pd.DataFrame:
    """Rows for line_spec of the learning rate that a run would follow."""
    return pd.DataFrame(schedules.curve(schedule, optim, epochs), columns=["x", "value"])


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


def thin(points: list[tuple], limit: float = MAX_POINTS) -> list[tuple]:
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


def _alone(columns: dict[str, list], slot: int) -> alt.Chart:
    """A chart of one run in its color, from the theme. columns: of an example row."""
    color = alt.Color("run:N", scale=alt.Scale(domain=domain([("run", slot)])), legend=None)
    return alt.Chart(pd.DataFrame(columns)).transform_calculate(run="'run'").encode(color=color)


def legend(**more: Any) -> alt.Legend:
    return alt.Legend(
        **{"title": None, "orient": "top", "labelLimit": 260, "symbolOpacity": 1, **more}
    )


def spec_of(chart: alt.Chart | alt.LayerChart, height: int = 280) -> dict[str, Any]:
    """The chart's spec without example data, whose generated names differ between builds."""
    spec = chart.properties(height=height, width="container").to_dict()
    for name in ("data", "datasets", "config", "$schema"):
        spec.pop(name, None)
    return {**spec, "config": axes.CONFIG}
