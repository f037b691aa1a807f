"""Deletion of runs, and of runs from the queue, that can be undone."""

from __future__ import annotations

import streamlit as st

from engine.data.progress import format_duration
from engine.errors import ConfigError, RunError
from engine.runs import trash
from engine.runs.run import Run, State
from pages.ui import folders, process, readings
from pages.ui.text import markdown

# Session state "undo": (what was done, entries of the trash, those that were in the queue).


def cancel(runs: list[Run]) -> None:
    """Take runs out of the queue; those that have not been trained at all are deleted.

    A run that starts meanwhile is left alone. Raises RunError for a single run.
    """
    gone = []
    for run in runs:
        try:
            process.worker().cancel(run)
            if not run.status().step:
                gone.append(trash.discard(run))
        except RunError:
            if len(runs) == 1:
                raise
    _remember("taken out of the queue", gone, queued=gone)
    if len(gone) < len(runs):
        st.toast("Runs that have already started training were not deleted.")


def delete(runs: list[Run]) -> list[str]:
    """Delete runs, after taking them out of the queue; returns why some were not."""
    gone, queued, refused = [], [], []
    for run in runs:
        try:
            status = readings.status_of(run)
            waits = status is not None and status.state is State.QUEUED
            if waits:
                process.worker().cancel(run)
            gone.append(trash.discard(run))
            queued += gone[-1:] if waits else []
        except RunError as error:
            refused.append(str(error))
    _remember("deleted", gone, queued)
    return refused


def _remember(
    done: str, entries: list[trash.Discarded | None], queued: list[trash.Discarded | None]
) -> None:
    kept = [entry for entry in entries if entry]
    if kept:
        st.session_state["undo"] = done, kept, queued
        st.toast(f"{_names(kept)} {'was' if len(kept) == 1 else 'were'} {done}.")


def _names(entries: list[trash.Discarded] | list[Run]) -> str:
    if len(entries) > 3:
        return f"{len(entries)} runs"
    return ", ".join(entry.name for entry in entries)


def offer() -> None:
    """What was done last in this session, with a button to undo it."""
    with st.container(key="undo", horizontal=True, vertical_alignment="center"):
        if problem := st.session_state.pop("undo_problem", None):
            st.error(markdown(problem))
        if "undo" not in st.session_state:
            return
        done, entries, _ = st.session_state["undo"]
        st.caption(f"{_names(entries)} {'was' if len(entries) == 1 else 'were'} {done}.")
        st.button("Undo", key="undo_last", icon=":material/undo:", on_click=undo)


def undo() -> None:
    """Restore what was deleted last; what waited in the queue waits again, at its place."""
    last = st.session_state.pop("undo", None)
    if last is None:  # a double click
        return
    _, entries, queued = last
    for entry, run in restore(entries).items():
        if entry in queued:
            try:
                process.worker().resume(run, "former")
            except (ConfigError, RunError) as error:
                st.session_state["undo_problem"] = str(error)


def restore(entries: list[trash.Discarded]) -> dict[trash.Discarded, Run]:
    """Move runs back from the trash; those that were. A refusal becomes a message."""
    restored = {}
    for entry in entries:
        try:
            restored[entry] = trash.restore(entry)
        except (ConfigError, RunError) as error:
            st.session_state["undo_problem"] = str(error)
    if restored:
        st.toast(f"Restored: {_names([*restored.values()])}.")
    return restored


def bin_contents() -> None:
    """The deleted runs that can still be restored; nothing without any."""
    entries = trash.discarded(folders.RUN_ROOT)
    if not entries:
        return
    with st.popover(f"Deleted runs ({len(entries)})", key="bin", icon=":material/delete:"):
        st.caption(f"Kept for {format_duration(trash.KEEP_S)}, then deleted permanently.")
        known = {entry.path.name: entry for entry in entries}
        names = st.multiselect(
            "Runs", list(known), key="bin_chosen", format_func=lambda key: known[key].name
        )
        chosen = [known[name] for name in names]
        with st.container(horizontal=True):
            st.button(
                "Restore", key="bin_restore", on_click=restore, args=(chosen,), disabled=not chosen
            )
            st.button("Delete all permanently", key="bin_empty", on_click=empty)


def empty() -> None:
    trash.purge(folders.RUN_ROOT, older_s=0.0)
    st.session_state.pop("undo", None)
    st.toast("The deleted runs were permanently removed.")
