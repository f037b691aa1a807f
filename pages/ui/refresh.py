"""Redrawing a page when the runs change, whoever changed them: another tab or the command line."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit import runtime

from engine.runs.run import Run, State, Status
from pages.ui import readings

INTERVAL_S = 5.0  # from one look at all runs to the next
WATCHING_S = 20.0  # the same beside a run in training: each redraw takes time from it
SHARE_S = 0.2  # seconds of each interval for each session
HIDE_S = 2  # for which a tab must be hidden until its refreshes stop
FRESH_S = 1.0  # for which a listing of the runs serves other sessions; below INTERVAL_S / 2

# Reports whether the browser shows this tab. The server's value is passed as data, so that only a
# change is reported.
VISIBILITY = st.components.v2.component(
    "visibility",
    js="""
export default function ({ data, setStateValue }) {
  let waiting;
  const report = () => {
    clearTimeout(waiting);
    const hidden = document.hidden;
    if (hidden !== data.hidden)
      waiting = setTimeout(() => setStateValue("hidden", hidden), hidden ? data.delay : 0);
  };
  document.addEventListener("visibilitychange", report);
  report();
  return () => {
    clearTimeout(waiting);
    document.removeEventListener("visibilitychange", report);
  };
}""",
)

Pairs = list[tuple[Run, Status]]


def watch_visibility() -> None:
    """Stop the refreshes of this page while its tab is hidden; call it before `repeat`."""
    with st.container(key="visibility"):
        known = {"hidden": is_hidden(), "delay": 1000 * HIDE_S}
        VISIBILITY(key="tab", data=known, on_hidden_change=lambda: None)


def is_hidden() -> bool:
    """Whether the browser has hidden the tab of this session, by its last report."""
    return bool(st.session_state.get("tab", {}).get("hidden"))


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
    repeat(_look, every)(summary, summary(drawn), time.monotonic())


def _look(summary: Callable[[Pairs], Any], seen: Any, drawn_at: float) -> None:
    # Not while the page is being drawn: a run with short epochs would redraw it without end.
    if time.monotonic() - drawn_at > INTERVAL_S / 2 and summary(_listing.statuses()) != seen:
        st.rerun()


def repeat(draw: Callable[..., None], every: float | None) -> Callable[..., None]:
    """`draw` as a fragment that is run again after `every` seconds, or not if None.

    With many sessions, less often: together they take a bounded share of the server's time. Not
    while the tab is hidden; the page is drawn again once it is shown.
    """
    if every is None or is_hidden():
        return st.fragment(draw)
    drawn = pace(every, sessions())

    @functools.wraps(draw)
    def look(*given: Any) -> None:
        # Only a rerun of the page changes an interval; by a factor of two, so that it is seldom.
        if not 0.5 <= pace(every, sessions()) / drawn <= 2:
            st.rerun()
        draw(*given)

    return st.fragment(look, run_every=drawn)


def pace(every: float, sessions: int) -> float:
    """Seconds between two looks of each of `sessions` that would look after `every` seconds."""
    return max(every, sessions * SHARE_S)


def sessions() -> int:
    """Number of browser tabs that are connected to this server; 1 where none runs, as in a test."""
    if not runtime.exists():
        return 1
    stats = runtime.get_instance().stats_mgr.get_stats(["active_sessions"])
    return int(stats["active_sessions"][0].value)


class _Listing:
    """Statuses of all runs, read for one session and shared with those that look soon after."""

    def __init__(self):
        self._lock = threading.Lock()
        self._pairs: Pairs = []
        self._until = 0.0

    def statuses(self) -> Pairs:
        with self._lock:
            if time.monotonic() > self._until:
                self._pairs = readings.statuses()
                self._until = time.monotonic() + FRESH_S
            return self._pairs


_listing = _Listing()
