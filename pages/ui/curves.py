"""The live curves of one run, what they are drawn against, and their download."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import pandas as pd
import streamlit as st

from engine import estimate
from engine.errors import ConfigError
from engine.runs.run import Run, Status
from pages.ui import axes, charts, history, readings
from pages.ui.downloads import Chart, chart_downloads
from pages.ui.extension import train_images

TITLES = {"accuracy": "Accuracy", "loss": "Loss", "lr": "Learning rate"}


class Options(NamedTuple):
    """How a run's curves are drawn."""

    by: str  # a key of axes.X_AXES
    smoothing: float
    log: bool  # a logarithmic loss axis
    on: str  # the validation images
    costs: axes.Costs


def options(run: Run, status: Status) -> Options:
    """Inputs above the curves; outside the fragment, so that a tick cannot reset them."""
    with st.container(key="chart_options", horizontal=True, vertical_alignment="bottom"):
        by = x_axis("curves_by", axes.usual(status.epochs))
        smoothing = st.slider(
            "Smoothing",
            0.0,
            0.98,
            0.0,
            key="smoothing",
            width=180,
            help="Smooths the curve for training images. The curve for test or held-out "
            "images is drawn as measured.",
            persist_state="session",
        )
        log = st.toggle("Logarithmic loss", key="log_loss", persist_state="session")
        on = charts.validation(status.val_is_test)
        chosen = Options(by, smoothing, log, on, costs_of(run, by))
        made, values = (
            {
                title: functools.partial(of, run, measure, chosen)
                for measure, title in TITLES.items()
            }
            for of in (chart, recorded)
        )
        chart_downloads(f"curves_{run.name}", made, values, run.name)
    return chosen


def x_axis(key: str, usual: str) -> str:
    """A choice of the x axis: `usual` until the user chooses another."""
    form = st.session_state
    if not form.get(f"{key}_chosen"):
        form[key] = usual
    return st.selectbox(
        "Horizontal axis",
        list(axes.X_AXES),
        key=key,
        format_func=lambda by: axes.X_AXES[by][0],
        on_change=lambda: form.update({f"{key}_chosen": True}),
        width=150,
        persist_state="session",
    )


def costs_of(run: Run, by: str) -> axes.Costs:
    """What the steps of a run cost, as far as the axis `by` needs it."""
    config = readings.config_of(run)
    if config is None:
        return axes.Costs()
    if by not in ("images", "macs"):
        return axes.Costs(config.batch_size)
    images = train_images(run, config)
    if by == "images":
        return axes.Costs(config.batch_size, images)
    steps = config.epochs * math.ceil(images / config.batch_size) if images else 0
    return axes.Costs(
        config.batch_size, images, forward_macs(run), steps if config.progressive else 0
    )


def forward_macs(run: Run) -> float:
    """Multiply-adds of one forward pass of one image; 0 if unknown."""
    config = readings.config_of(run)
    try:
        return estimate.requirements(config.model, config.batch_size).costs.macs if config else 0.0
    except ConfigError:
        return 0.0


def chart(run: Run, measure: str, chosen: Options) -> Chart:
    """(spec, rows) of accuracy, loss or "lr", from the run's records of now."""
    by, smoothing, log, on, costs = chosen
    begun, slot = bool(history.epochs(run)), charts.colors([run.name])[run.name]
    by = _usable_axis(run, by)
    if measure == "lr":
        rows = history.compute(run, charts.rate_rows, by, costs)
        return charts.line_spec("lr", by, charts.RATE_HEIGHT, slot), rows
    rows = history.compute(run, charts.run_rows, measure, by, smoothing, on, costs)
    log = log and measure == "loss"
    return charts.curve_spec(measure, by, log, on=on, best=begun, slot=slot), rows


def recorded(run: Run, measure: str, chosen: Options) -> pd.DataFrame:
    """Every recorded value of accuracy, loss or "lr", without smoothing, as the chart's rows."""
    records, by = history.records(run), _usable_axis(run, chosen.by)
    if measure == "lr":
        return charts.rate_rows(records, by, chosen.costs, math.inf)
    return charts.run_rows(records, measure, by, 0.0, chosen.on, chosen.costs, math.inf)


def _usable_axis(run: Run, by: str) -> str:
    """The x axis; steps before the first epoch has ended."""
    return by if by != "epoch" or history.epochs(run) else "step"


def curves(run: Run, chosen: Options) -> None:
    """Accuracy beside loss, and the learning rate below them."""
    left, right = st.columns(2)
    for column, measure in ((left, "accuracy"), (right, "loss")):
        with column, st.container(key=f"live_{measure}"):
            spec, rows = chart(run, measure, chosen)
            st.vega_lite_chart(rows, spec, alt=f"{measure} of this run on training and {chosen.on}")
    with st.container(key="live_rate"):
        spec, rows = chart(run, "lr", chosen)
        st.vega_lite_chart(rows, spec, alt="learning rate of this run")
