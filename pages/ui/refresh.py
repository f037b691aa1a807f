"""Redrawing a page when the runs change, whoever changed them: another tab or the command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import streamlit as st

from engine.runs.run import Run, State, Status
from pages.ui import readings

INTERVAL_S = 5.0  # from one look at all runs to the next
WATCHING_S = 20.0  # the same beside a run in training: each redraw takes time from it

Pairs = list[tuple[Run, Status]]


def states(pairs: Pairs) -> list[tuple[str, State]]:
    """Summary for rerun_on_change: names and states."""
    return [(run.name, status.state) for run, status in pairs]


def states_and_epochs(pairs: Pairs) -> list[tuple[str, State, int]]:
    """Summary for rerun_on_change: names, states and finished epochs."""
    return [(run.name, status.state, status.epoch) for run, status in pairs]


def live_states(pairs: Pairs) -> list[tuple[str, State]]:
    """Summary for rerun_on_change: names and states of runs that train or wait."""
    return [(name, state) for name, state in states(pairs) if state in readings.LIVE]


def rerun_on_change(
    summary: Callable[[Pairs], Any], drawn: Pairs, every: float = INTERVAL_S
) -> None:
    """Rerun the page once `summary` of all runs differs from that of the runs `drawn`.

    every: seconds from one look to the next.
    """
    st.fragment(_look, run_every=every)(summary, summary(drawn), time.monotonic())


def _look(summary: Callable[[Pairs], Any], seen: Any, drawn_at: float) -> None:
    # Not while the page is being drawn: a run with short epochs would redraw it without end.
    if time.monotonic() - drawn_at > INTERVAL_S / 2 and summary(readings.statuses()) != seen:
        st.rerun()
