"""Parts of Home: the first training, a sample with its answer, sparklines of runs."""

from __future__ import annotations

import base64

import streamlit as st

from engine.config import with_fields
from engine.errors import CheckpointError, RunError
from engine.predict import Predictor
from engine.presets import PRESETS
from engine.runs.run import Run
from pages.ui import folders, history, live, process
from pages.ui.charts import PALETTE, colors
from pages.ui.scenes import SCENES
from pages.ui.text import markdown, plain

FIRST, NAME = "minute", "my-first-network"  # preset and name of the first run
NETWORK, SCENE = "speedrun-wide", "ship"  # of the sample that is answered on Home
WIDTH, HEIGHT = 96, 24  # pixels of a sparkline


def start_first() -> None:
    """Train the preset "minute" and open Train, which shows it."""
    config = with_fields(PRESETS[FIRST].config(), {"data.root": str(folders.DATA_ROOT)})
    if live.live_twin(config):  # a double click
        return
    try:
        name = process.submit(config, NAME, NAME).name
    except RunError as error:
        st.session_state["start_problem"] = markdown(plain(error))
    else:
        st.session_state["started"] = name, config
        live.watch(name, pin=False)
    st.session_state["open_train"] = True  # a callback cannot switch the page


@st.cache_data(show_spinner=False)
def sample_answer() -> list[tuple[str, float]] | None:
    """The shipped network's most likely (class, probability) for the sample; None without it."""
    try:
        predictor = Predictor.load(folders.SHIPPED / NETWORK)
    except (CheckpointError, RunError):
        return None
    return predictor.top_k([SCENES[SCENE]()], 3, calibrated=True)[0]


def sparkline(run: Run) -> str:
    """Validation accuracy by epoch, as a Markdown image; empty with fewer than two epochs."""
    values = [record["val_acc"] for record in history.epochs(run)]
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    step = (WIDTH - 4) / (len(values) - 1)
    points = " ".join(
        f"{2 + i * step:.1f},{HEIGHT - 2 - (HEIGHT - 4) * (v - low) / ((high - low) or 1):.1f}"
        for i, v in enumerate(values)
    )
    light, dark = (theme_color(theme, colors([run.name])[run.name]) for theme in ("light", "dark"))
    name = f"validation accuracy from {100 * values[0]:.0f} % to {100 * values[-1]:.0f} %"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
        f"<style>polyline {{ stroke: {light} }}"
        f"@media (prefers-color-scheme: dark) {{ polyline {{ stroke: {dark} }} }}</style>"
        f'<polyline points="{points}" fill="none" stroke-width="1.5"/></svg>'
    )
    return f"![{name}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def theme_color(theme: str, slot: int) -> str:
    """The color in which charts of the theme, "light" or "dark", draw a run; slot: of `colors`."""
    return (st.get_option(f"theme.{theme}.chartCategoricalColors") or PALETTE)[slot]
