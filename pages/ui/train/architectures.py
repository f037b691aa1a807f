"""The comparison of architectures: size, cost here and published accuracy of each."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine import estimate
from engine.config import RunConfig
from engine.errors import ConfigError, DataError
from engine.models import ARCHITECTURES
from engine.presets import PRESETS
from engine.studies.published import STUDIES
from pages.ui import process

PUBLISHED = "published study: 250 epochs with erasing, 1 run, best epoch"
STUDIED = ("architectures", "deeper-or-wider")
HELP = (
    "Parameters, multiply-adds and time are those at width 1, with the architecture's own "
    "activation and norm."
)


def accuracies() -> dict[str, tuple[float, str]]:
    """Test accuracy on CIFAR-10 in percent and its source, of architectures where it is known."""
    found = {
        preset.config().model.arch: (preset.accuracy, f"preset {preset.title}, mean of 3 runs")
        for preset in reversed(PRESETS.values())
        if preset.accuracy
    }
    for name in STUDIED:
        (factor,) = STUDIES[name].factors
        for value in factor.values:
            found[value.settings["model.arch"]] = value.published.val_acc, PUBLISHED
    return found


def comparison(seconds: dict[str, float]) -> pd.DataFrame:
    """One row per architecture; `seconds`: of an epoch here, where known."""
    known, costs = accuracies(), estimate.architecture_costs()
    rows = [
        {
            "Architecture": name,
            "What it is": architecture.description,
            "Parameters (M)": costs[name][0] / 1e6,
            "Multiply-adds (M)": costs[name][1].macs / 1e6,
            "Epoch here (min)": seconds[name] / 60 if name in seconds else None,
            "Accuracy (%)": known.get(name, (None, ""))[0],
            "Source of accuracy": known.get(name, (None, ""))[1],
            "Paper": architecture.paper.rpartition(", ")[2],
        }
        for name, architecture in ARCHITECTURES.items()
    ]
    return pd.DataFrame(rows)


def epoch_seconds(config: RunConfig | None) -> dict[str, float]:
    """Seconds of an epoch of the form's data here, for each architecture; empty while unknown."""
    if config is None:
        return {}
    costs = estimate.architecture_costs()
    try:
        each = {name: process.seconds_of(config, of) for name, (_, of) in costs.items()}
    except (ConfigError, DataError):
        return {}
    return {name: seconds for name, seconds in each.items() if seconds is not None}


@st.dialog("Compare architectures", width="large")
def compare(config: RunConfig | None) -> None:
    """The table; ticking a row chooses that architecture."""
    table = comparison(epoch_seconds(config))
    st.caption(f"Tick a row to choose it. A click on a column's title sorts by it. {HELP}")
    # Widths in pixels: together no wider than the dialog, else the last columns are out of sight.
    numbers = {
        "Parameters (M)": ("%.2f", 110),
        "Multiply-adds (M)": ("%.0f", 125),
        "Epoch here (min)": ("%.1f", 120),
    }
    st.dataframe(
        table,
        hide_index=True,
        height=560,
        placeholder="–",
        key="architectures",
        on_select=choose,
        selection_mode="single-row",
        column_config={
            **{
                name: st.column_config.NumberColumn(format=format_, width=width)
                for name, (format_, width) in numbers.items()
            },
            "Architecture": st.column_config.TextColumn(width=135),
            "What it is": st.column_config.TextColumn(width=270),
            "Accuracy (%)": st.column_config.NumberColumn(
                format="%.2f", width=100, help="On CIFAR-10's test images, as the next column says."
            ),
            "Source of accuracy": st.column_config.TextColumn(width=160),
            "Paper": st.column_config.LinkColumn(
                width=90, display_text=r"abs/(.+)", help="Its number on arXiv, as a link."
            ),
        },
    )
    if st.session_state.pop("architecture_chosen", False):
        st.rerun()  # closes the table


def choose() -> None:
    """Set the form to the ticked architecture, with its own activation and norm."""
    form = st.session_state
    if rows := form["architectures"]["selection"]["rows"]:
        name = list(ARCHITECTURES)[rows[0]]
        form["arch"], form["architecture_chosen"] = name, True
        own = ARCHITECTURES[name]
        form["activation"], form["norm"] = own.activation, own.norm
