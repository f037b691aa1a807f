"""The run that the Train page shows, and the queue.

Session state: "watching" holds the run's name (see live.watch), "closed" the names of those that
were closed on this page, "replaced" (the run shown before, the one that took its place).
"""

from __future__ import annotations

import streamlit as st

from engine.errors import RunError
from engine.runs.run import Run, State, Status
from pages.ui import folders, live, process, readings, undo
from pages.ui.text import called, markdown

UNFINISHED = (State.PAUSED, State.INTERRUPTED)
LISTED = 5  # runs of the queue that are shown at first


def watched_run(statuses: list[tuple[Run, Status]]) -> Run | None:
    """The run chosen here; else the one that trains, and after its end still that one.

    An unfinished run comes up by itself only while it is the newest of all runs.
    """
    form = st.session_state
    chosen = readings.find_run(form.get("watching"))
    status = readings.status_of(chosen) if chosen else None
    if status and (form.get("pinned") == chosen.name or status.state in readings.LIVE):
        return chosen
    for wanted in (State.RUNNING, State.WAITING, State.QUEUED):
        live_ones = [(status.queued, run) for run, status in statuses if status.state is wanted]
        if live_ones:
            _, run = min(live_ones, key=lambda pair: pair[0])  # the next in the queue
            if chosen:
                form["replaced"] = chosen.name, run.name
            form["watching"] = run.name
            return run
    if chosen is None and statuses:
        newest, status = statuses[0]
        if status.state in UNFINISHED and newest.name not in form.get("closed", ()):
            form["watching"] = newest.name
            return newest
    return chosen


def close() -> None:
    """Hide the watched run until it is asked for again."""
    form = st.session_state
    form["closed"] = {*form.get("closed", ()), form["watching"]}
    live.watch(None)


def queue(statuses: list[tuple[Run, Status]]) -> None:
    """Runs that wait for their turn, and those that an earlier server left waiting."""
    undo.offer()
    if problem := st.session_state.pop("queue_problem", None):
        st.error(markdown(problem))
    waiting = [run for run, status in statuses if status.state is State.QUEUED]
    mine = [run.path for run in process.worker().waiting()]
    current = process.worker().current
    left = [r for r in waiting if r.path not in mine and not (current and current.path == r.path)]
    if left:
        names = markdown(", ".join(called(run) for run in left[:LISTED]))
        more = f" and {len(left) - LISTED} more" if len(left) > LISTED else ""
        st.info(f"Left in the queue when the app was last stopped: {names}{more}")
        if st.button("Continue queue", key="continue_queue"):
            process.worker().continue_queue(folders.RUN_ROOT)
            st.rerun()
    others = [(r, s) for r, s in statuses if s.state in (*readings.LIVE, State.PAUSED)]
    if len(others) < 2:
        return
    turns = {path: turn for turn, path in enumerate(mine)}
    others.sort(key=lambda pair: (pair[1].state is not State.RUNNING, turns.get(pair[0].path, -1)))
    with st.expander(
        f"Queue: {len(waiting)} waiting" if waiting else "Queue", expanded=True, key="waiting"
    ):
        whole = len(others) > LISTED and st.toggle(f"Show all {len(others)}", key="whole_queue")
        for run, status in others if whole else others[:LISTED]:
            queued_row(run, status, turns.get(run.path), len(mine))
        if len(waiting) > 1:
            in_order = [run for run, status in others if status.state is State.QUEUED]
            st.button("Clear the queue", key="clear_queue", on_click=cancel, args=(in_order,))


def queued_row(run: Run, status: Status, turn: int | None, count: int) -> None:
    """A run of the queue, and its buttons. turn: its place among `count`; None if it has none."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(status.state.value, color=live.COLORS.get(status.state, "orange"))
        st.button(
            markdown(called(run)),
            key=f"watch_{run.name}",
            type="tertiary",
            on_click=live.watch,
            args=(run.name,),
        )
        if status.state is not State.QUEUED:
            return
        if turn is not None and count > 1:
            for word, places, last in (("Earlier", -1, 0), ("Later", 1, count - 1)):
                st.button(
                    word,
                    key=f"{word.lower()}_{run.name}",
                    icon=f":material/arrow_{'up' if places < 0 else 'down'}ward:",
                    type="tertiary",
                    disabled=turn == last,
                    on_click=process.worker().move,
                    args=(run, places),
                )
        st.button("Cancel", key=f"cancel_{run.name}", on_click=cancel, args=([run],))


def cancel(runs: list[Run]) -> None:
    """Take runs out of the queue; a refusal becomes a message."""
    try:
        undo.cancel(runs)
    except RunError as error:
        st.session_state["queue_problem"] = str(error)
