"""One study: what is known, its curves, its table, and what may be done to it."""

from __future__ import annotations

import time

import pandas as pd
import streamlit as st

from engine.data.progress import format_duration
from engine.errors import ConfigError, DataError, StudyError
from engine.runs.run import State
from engine.studies import rates, report
from engine.studies import study as studies
from engine.studies.results import Verdict
from engine.studies.study import Study
from pages.ui import folders, live, readings, refresh
from pages.ui.studies import charts, driving, opened, share
from pages.ui.studies.more import add_seeds, add_value
from pages.ui.studies.progress import counts, resumable, seconds_left
from pages.ui.studies.progress import share as share_of
from pages.ui.text import markdown

TICK_S = 3.0  # between two looks at a study in progress
SHOWN = 3  # sentences of the verdict that are shown at once


def study_page(name: str) -> None:
    """The study of that name, or a message."""
    st.button("All studies", key="all_studies", on_click=opened.open_study, args=(None,))
    try:
        study = studies.load(folders.STUDY_ROOT, name)
        members = opened.members(study)
    except (ConfigError, DataError, StudyError) as error:
        st.error(markdown(str(error)))
        return
    now = opened.state_of(study, members)
    header(study, now, resumable(members) or rates.missing(study))
    by = cost_input()
    active = now in (State.RUNNING, State.QUEUED)
    with st.container(key="study_live"):
        every = TICK_S if active else opened.IDLE_S
        refresh.repeat(live_part, every)(name, now, by, time.monotonic())
    with st.container(horizontal=True):
        with st.popover("Add seeds", key="add_seeds"):
            add_seeds(study)
        if len(study.factors) == 1:
            with st.popover("Add a value", key="add_value"):
                add_value(study)
        share.downloads(study, by)
    opened.link(study)
    about(study)


def header(study: Study, now: State, can_resume: bool) -> None:
    """The question, the state of the whole, and the buttons that fit it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.subheader(study.question, anchor=False)
        st.badge(now.value, color=live.COLORS.get(now, "orange"))
        if now in (State.RUNNING, State.QUEUED):
            st.button("Pause", key="pause_study", on_click=driving.ask, args=(study.name, "pause"))
            st.button(
                "Stop study", key="stop_study", on_click=driving.ask, args=(study.name, "stop")
            )
        if can_resume and (now is not State.RUNNING):
            st.button(
                "Resume", key="resume_study", type="primary",
                on_click=driving.ask, args=(study.name, "resume"),
            )  # fmt: skip
    st.caption(f"{markdown(study.name)} · {markdown(report.recipe(study))}")
    if problem := st.session_state.pop("study_problem", None):
        st.error(markdown(problem))


def cost_input() -> str:
    """The x axis; outside the fragment, so that a tick cannot reset it."""
    return st.segmented_control(
        "Curves by",
        list(charts.COSTS),
        default="epochs",
        required=True,
        key="study_by",
        format_func=lambda by: charts.COSTS[by][0],
        persist_state="session",
    )


def live_part(name: str, seen: State, by: str, drawn_at: float) -> None:
    """Sentences, progress, chart and table from the files; a fragment rerun while runs train."""
    try:
        study = studies.load(folders.STUDY_ROOT, name)
        members = opened.members(study)
    except (ConfigError, DataError, StudyError) as error:
        st.error(markdown(str(error)))
        return
    # Not while the page is being drawn: it would be redrawn without end.
    if opened.state_of(study, members) is not seen and time.monotonic() - drawn_at > TICK_S / 2:
        st.rerun()
    try:
        verdict = report.verdict_of(study, opened.outcomes(study))
        curves = opened.curves(study)
    except (ConfigError, DataError, StudyError) as error:
        st.error(markdown(str(error)))
        return
    headline(verdict)
    if rates.missing(study):
        st.caption("First, the learning rate of each value is chosen, on held-out images.")
        if problem := opened.rates_problem(study, members):
            st.error(markdown(f"The study cannot start: {problem}."))
    if seen is not State.FINISHED:
        left = seconds_left(members)
        text = counts(members)
        if left is not None and seen in (State.RUNNING, State.QUEUED):
            text += f" · about {format_duration(left)} left"
        st.progress(share_of(members), text)
    with st.container(key="study_chart"):
        chart(study, curves, by)
    with st.container(key="study_table"):
        st.dataframe(report.table(study, verdict), hide_index=True, key="study_results")
    if len(study.factors) == 2:
        grid(study, verdict)
    with st.expander("Accuracy against cost", key="study_cost"):
        cost_chart(study, curves, by)
    with st.expander("How sure is this?", key="study_notes"):
        for line in report.explanation(study, verdict):
            st.markdown(f"- {markdown(line)}")


def headline(verdict: Verdict) -> None:
    """What is known, the most important sentences first."""
    with st.container(border=True, key="verdict"):
        for sentence in verdict.headline[:SHOWN]:
            st.write(markdown(sentence))
        rest = verdict.headline[SHOWN:]
        if rest:
            with st.expander(f"{len(rest)} more", key="more_sentences"):
                for sentence in rest:
                    st.write(markdown(sentence))


def chart(study: Study, curves: list[charts.Curve], by: str) -> None:
    rows = charts.curve_rows(curves, by)
    if rows.empty:
        st.caption("The curves begin after the first epoch.")
        return
    found = report.published(study)
    rows = pd.concat([rows, charts.published_rows(found)], ignore_index=True)
    names = tuple(row.name for row in study.rows())
    on = charts.measured_on(study)
    spec = charts.curve_spec(by, names, bool(found), on)
    st.vega_lite_chart(rows, spec, alt=f"accuracy of each value on {on}")
    band = "Bands: one standard deviation between seeds." if len(study.all_seeds()) > 1 else ""
    dotted = " Dotted: the published accuracy, after 250 epochs at full width." if found else ""
    st.caption(f"{band}{dotted}")


def cost_chart(study: Study, curves: list[charts.Curve], by: str) -> None:
    rows = charts.cost_rows(curves, by)
    if rows.empty:
        st.caption("The first point appears after the first epoch.")
        return
    names = tuple(row.name for row in study.rows())
    spec = charts.cost_spec(by, names, charts.measured_on(study))
    st.vega_lite_chart(rows, spec, alt="accuracy of each run by its cost")
    st.caption("One point for each run: its latest accuracy, and what it has cost so far.")


def grid(study: Study, verdict: Verdict) -> None:
    """Heatmap of the two factors, mean of each value, and how far they are from additive."""
    first, second = study.factors
    means = report.grid_means(study, verdict)
    rows = charts.grid_rows(means)
    if rows.empty:
        return
    st.vega_lite_chart(
        rows, charts.grid_spec(first.name, second.name), alt="mean accuracy of each combination"
    )
    for line in report.effects(study, verdict):
        st.caption(markdown(line))


def about(study: Study) -> None:
    """Footnotes, and the runs of the study."""
    with st.expander("About this study", key="footnotes"):
        for note in study.footnotes:
            st.markdown(f"- {markdown(note)}")
        st.caption("Runs")
        for name, _, _ in study.runs():
            if readings.find_run(name):
                st.page_link("pages/2_Runs.py", label=name, query_params={"run": name})
