"""One run: its curves, configuration and log, and what may be done to it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from engine import runs
from engine.data.progress import format_duration
from engine.errors import ConfigError, RunError
from engine.runs import trash
from engine.runs.run import HELD, NOTE_CHARS, TITLE_CHARS, Run, Status
from pages.ui import choices, live, readings, undo
from pages.ui.runs.exporting import exporting
from pages.ui.text import command, in_full, markdown, percent


def details(names: list[str], chosen: list[str]) -> None:
    """One run in full: the one selected in the table, or chosen here."""
    st.subheader("Run details", anchor=False)
    form = st.session_state
    linked = "opened_from_table" not in form and st.query_params.get("run")
    if len(chosen) != 1:
        form["opened_from_table"] = None
    elif form.get("opened_from_table") != chosen[0]:
        form["opened_from_table"] = chosen[0]
        if not linked:  # a link may tick one run and open another
            form["run"] = chosen[0]
    name = st.selectbox(
        "Run",
        names,
        index=None,
        key="run",
        bind="query-params",
        placeholder="Choose a run, or select one row above",
    )
    run = readings.find_run(name)
    status = readings.status_of(run) if run else None
    if status is None:
        return
    with st.container(key="panel"):
        live.panel(run)
    with st.container(key="actions"):
        actions(run, status)
    words(run)
    config = readings.config_of(run)
    if config:
        with st.expander("Configuration", key="configuration"):
            st.code(command(config, run.name), language="bash", wrap_lines=True)
            st.json(config.to_dict(), expanded=1)
    with st.expander("Log", key="log"):
        st.code(
            run.log()[-20_000:] or "Nothing has been logged yet.", language=None, wrap_lines=True
        )


def actions(run: Run, status: Status) -> None:
    """Buttons: settings to Train, downloads, rename, delete."""
    config = readings.config_of(run)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if config and st.button("Use these settings in Train", key="clone"):
            st.switch_page("pages/1_Train.py", query_params={"choices": choices.encode(config)})
        downloads(run)
        exporting(run)
        if status.state in HELD:
            st.caption("A run can be renamed or deleted once it has ended.")
            return
        with st.popover("Rename", key=f"rename_run_{run.name}"):
            key = f"new_name_{run.name}"
            st.text_input("New name", value=run.name, key=key, max_chars=80)
            st.button("Rename", key="rename", on_click=rename, args=(run, key))
        with st.popover("Delete", key=f"delete_run_{run.name}"):  # closed for the next run
            st.write(
                f"**{markdown(in_full(run))}**: {percent(status.final_acc)} after "
                f"{format_duration(status.seconds)} of training. It can be restored for "
                f"{format_duration(trash.KEEP_S)}."
            )
            st.button("Delete", key="delete", on_click=delete, args=(run,))
    if problem := st.session_state.pop("run_problem", None):
        st.error(markdown(problem))


def downloads(run: Run) -> None:
    """Buttons for the files of a run; each is read at the click."""
    for label, file in (("weights", "last.safetensors"), ("config", "config.json")):
        path = run.path / file
        if path.is_file():
            st.download_button(
                f"Download {label}",
                data=path.read_bytes,
                file_name=f"{run.name}-{file}",
                on_click="ignore",
                key=f"download_{label}",
            )


def words(run: Run) -> None:
    """The title and the note, which can be changed at any time."""
    key = f"title_{run.name}"
    st.text_input(
        "Title",
        value=run.title(),
        key=key,
        max_chars=TITLE_CHARS,
        on_change=store,
        args=(run.set_title, key),
        placeholder="Shown beside the run's name",
    )
    key = f"note_{run.name}"
    st.text_area(
        "Note",
        value=run.note(),
        key=key,
        height=80,
        max_chars=NOTE_CHARS,
        on_change=store,
        args=(run.set_note, key),
        placeholder="What you wanted to find out, and what you observed",
    )


def store(setter: Callable[[str], None], key: str) -> None:
    """Store the words that were typed; a refusal becomes a message."""
    try:
        setter(st.session_state[key])
    except RunError as error:
        st.session_state["run_problem"] = str(error)


def rename(run: Run, key: str) -> None:
    """Give the run the name that was typed; a refusal becomes a message."""
    name = st.session_state[key].strip()
    if not name:
        st.session_state["run_problem"] = "Enter a name for the run"
        return
    if name == run.name:
        return
    try:
        renamed = runs.rename(run, name)
    except (ConfigError, RunError) as error:
        st.session_state["run_problem"] = str(error)
    else:
        st.session_state["run"] = renamed.name
        st.toast(f"{run.name} is now called {renamed.name}.")


def delete(run: Run) -> None:
    """Delete the run, which can be undone; a refusal becomes a message."""
    if refused := undo.delete([run]):
        st.session_state["run_problem"] = refused[0]
    else:
        st.session_state["run"] = None
