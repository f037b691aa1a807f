"""What a finished run came to, and what can be done next."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from engine.config import RunConfig, with_fields
from engine.runs.compare import same_but_seed
from engine.runs.run import Run, State, Status
from pages.ui import choices, folders, readings, weights
from pages.ui.text import called, percent

Change = Callable[[RunConfig, str], None]  # fills the form, and shows the field of a setting


def what_next(run: Run, status: Status, further: Callable[[], None], change: Change | None) -> None:
    """A sentence on the result, and ways on.

    further: draws the input that extends the run. change: on the page that has the form; None
    elsewhere.
    """
    config = readings.config_of(run)
    others = repetitions(run, config) if config else []
    outcome(run, status, others)
    with st.container(key="what_next", horizontal=True, vertical_alignment="center"):
        if weights_file := weights.choice_of(run.name, run, "last"):
            st.page_link(
                "pages/6_Inspect.py",
                label="See its errors",
                icon=":material/troubleshoot:",
                query_params={"network": weights_file.label},  # a bound value is its label
            )
        if st.button("Classify a picture", key="classify_with", icon=":material/image_search:"):
            st.session_state["checkpoint"] = f"{run.name}/last"
            st.switch_page("pages/5_Classify.py")
        if change:
            st.page_link(
                "pages/2_Runs.py",
                label="Compare with other runs",
                icon=":material/compare:",
                query_params={"ticked": run.name},
            )
        if config:
            further()
            once_more(run, config, [config, *(other for _, other in others)], change)


def once_more(run: Run, config: RunConfig, known: list[RunConfig], change: Change | None) -> None:
    """Buttons that open the form with the run's settings. known: the run and its repetitions."""
    repeated = with_fields(config, {"seed": 1 + max(each.seed for each in known)})
    again = {"label": "Repeat with another seed", "key": "repeat", "icon": ":material/casino:"}
    if change is None:  # the settings of this run, as they are, have a button on that page
        if st.button(**again):
            link = {"choices": choices.encode(repeated)}
            st.switch_page("pages/1_Train.py", query_params=link)
        return
    told = f"The form has the settings of {called(run)}"
    seed = (change, repeated, "seed", f"{told} and seed {repeated.seed}. Press Start training.")
    one = (change, config, "model.arch", f"{told}. Change one of them, then press Start training.")
    st.button(**again, on_click=_fill, args=seed)
    st.button("Try one change", key="vary_one", icon=":material/tune:", on_click=_fill, args=one)


def _fill(change: Change, config: RunConfig, path: str, told: str) -> None:
    change(config, path)
    st.toast(told)


def outcome(run: Run, status: Status, others: list[tuple[Run, RunConfig]]) -> None:
    """What came out, which claims no more than one run can. others: its repetitions."""
    info = readings.dataset_info(run)
    if not info or status.final_acc is None:
        return
    text = (
        f"{percent(status.final_acc)} after the last epoch; random guessing would give "
        f"{percent(1 / len(info['classes']))}."
    )
    for other, config in others:
        before = readings.status_of(other)
        if before and before.state is State.FINISHED and before.final_acc is not None:
            text += (
                f" The last run like it, with seed {config.seed}: {percent(before.final_acc)}. "
                "One run each cannot tell them apart."
            )
            break
    else:
        text += " Another seed gives a somewhat different accuracy."
    st.caption(text)


def repetitions(run: Run, config: RunConfig) -> list[tuple[Run, RunConfig]]:
    """The runs that differ from this one in the seed alone, newest first."""
    found = []
    for other in readings.list_runs(folders.RUN_ROOT):
        known = readings.config_of(other)
        if other.name != run.name and known and known.seed != config.seed:
            infos = [readings.dataset_info(each) for each in (run, other)]
            if same_but_seed([config, known], infos):
                found.append((other, known))
    return found
