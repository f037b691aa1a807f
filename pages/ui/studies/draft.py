"""A study before its start: the time for it, the plan that fits, changes by hand, and Start."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import streamlit as st

from engine import data
from engine.config import RunConfig
from engine.data.progress import format_duration
from engine.errors import ConfigError, DataError, RunError, StudyError
from engine.settings import get_field
from engine.studies import rates
from engine.studies import study as studies
from engine.studies.plan import Plan
from engine.studies.study import Study
from pages.ui import choices, folders, process, refresh
from pages.ui.studies import driving, opened
from pages.ui.text import markdown, plain

TIMES = {
    "5 minutes": 300.0,
    "30 minutes": 1800.0,
    "One lesson: 45 min": 2700.0,
    "Overnight: 10 h": 36000.0,
    "In full": None,
}
AS_PLANNED = "As planned"  # the time and the cuts of an opened plan
AWAIT_S = 2.0  # from one look for the machine's speed to the next
EDITS = {"draft_width": "model.width", "draft_epochs": "epochs", "draft_limit": "data.limit"}


def open_draft(study: Study, planned: bool = False) -> None:
    """Show a study's draft; planned: as it is, not cut to the first of the times on offer."""
    st.query_params.clear()
    form = st.session_state
    for key in [key for key in form if key.startswith("draft")]:
        del form[key]
    form.pop("vary_base", None)
    form["draft"], form["just_opened"] = study, True
    form["draft_planned"] = planned
    form["draft_name"] = free_name(study.name)


def close_draft() -> None:
    st.session_state.pop("draft", None)
    st.query_params.clear()


def free_name(base: str) -> str:
    """A name that no study here has, such as architectures-2."""
    taken = {name.lower() for name in studies.list_studies(folders.STUDY_ROOT)}
    # The names of runs begin with the first 40 characters of the study's.
    names = [base, *(f"{base[:36]}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name.lower() not in taken)


def draft_form(study: Study) -> None:
    """The draft of a study, down to its Start button."""
    st.button("All studies", key="all_studies", on_click=close_draft)
    st.subheader(study.question, anchor=False)
    asked = options(study)
    try:
        check_data(asked)
        if not driving.knows_speed(asked):
            await_speed(asked)
            return
        as_planned = st.session_state["draft_time"] == AS_PLANNED
        planned = driving.planned(asked, None if as_planned else asked.seconds)
        fill_edits(asked, planned.study)
        study, chosen = planned.study, edited(asked, planned.study)
        if chosen != study:
            planned = driving.priced(chosen)
        show_plan(planned, changed=chosen != study)
        start_box(dataclasses.replace(planned.study, seconds=asked.seconds))
    except (ConfigError, DataError) as error:
        st.error(told(error))
    with st.expander("Change the plan", key="change_plan"):
        edit_inputs(study)
    if study.footnotes:
        with st.expander("About this study", key="footnotes"):
            published_table(study)
            st.markdown("\n".join(f"- {markdown(note)}" for note in study.footnotes))


def options(study: Study) -> Study:
    """Ask for time, data set, seeds and order of the runs; the study with these."""
    as_planned = {AS_PLANNED: study.seconds} if st.session_state.get("draft_planned") else {}
    times = {**as_planned, **TIMES}
    time = st.segmented_control(
        "Time", list(times), default=next(iter(times)), required=True, key="draft_time"
    )
    columns = st.columns([2, 1, 1, 2])
    with columns[0]:
        dataset = dataset_input(study)
    with columns[1]:
        seeds = st.number_input(
            "Seeds",
            min_value=1,
            max_value=studies.MAX_SEEDS,
            value=len(study.seeds),
            key="draft_seeds",
            help="Number of runs of each value, which differ by chance. A single run does not "
            "show how much results vary; use three or more.",
        )
    with columns[2]:
        first = st.number_input(
            "First seed",
            min_value=0,
            max_value=2**31 - 1 - studies.MAX_SEEDS,
            value=study.seeds[0],
            key="draft_first_seed",
            help="In a class, each student enters another first seed, such as 0, 10 or 20. "
            "Import everyone's downloaded study (zip) into one app to combine the results.",
        )
    with columns[3]:
        order = st.segmented_control(
            "Runs",
            ["Take turns", "One after another"],
            default="Take turns" if study.race else "One after another",
            required=True,
            key="draft_race",
            help="Runs that take turns show all curves side by side from the start.",
        )
    by_row = {path for row in study.rows() for path in row.settings}
    equal = study.equal
    if len(study.factors) == 1 and "epochs" not in by_row:
        equal = st.segmented_control(
            "Equal for all values",
            ["epochs", "time"],
            default=study.equal,
            required=True,
            key="draft_equal",
            format_func=str.capitalize,
            help="With equal time, a network that trains faster gets more epochs.",
        )
    fair = study.fair_rates
    if len(study.factors) == 1 and rates.RATE not in by_row and not study.base.get("data.holdout"):
        fair = st.toggle(
            "A learning rate for each value",
            value=study.fair_rates,
            key="draft_fair",
            help="A common learning rate favors the values that it suits. With this on, each value "
            "is first trained with the rate, a third of it and three times it; the rate with the "
            "highest accuracy on held-out images is used for the study.",
        )
    places = {"data.dataset": dataset, "data.root": str(folders.DATA_ROOT)}
    return dataclasses.replace(
        study,
        base={**study.base, **places},
        seeds=tuple(range(int(first), int(first) + int(seeds))),
        race=order == "Take turns",
        equal=equal,
        fair_rates=fair,
        seconds=times[time],
    )


def dataset_input(study: Study) -> str:
    """The data set: that of the study where it is here, else one that is."""
    own = study.base.get("data.dataset", RunConfig().data.dataset)
    options = list(dict.fromkeys([own, *data.DATASETS]))
    here = [name for name in options if data.is_available(name, folders.DATA_ROOT)]
    first = own if own in here or own not in data.DATASETS or not here else here[0]
    return st.selectbox(
        "Data set",
        options,
        index=options.index(first),
        key="draft_data",
        format_func=lambda name: data.DATASETS[name].title if name in data.DATASETS else name,
    )


def check_data(study: Study) -> None:
    dataset = study.base["data.dataset"]
    if not data.is_available(dataset, folders.DATA_ROOT):
        if dataset not in data.DATASETS:
            raise DataError(f"{dataset} is not on this computer; choose another data set")
        st.info(
            f"{data.DATASETS[dataset].title} is not downloaded yet: the first run will download it."
        )


def await_speed(study: Study) -> None:
    """Have the machine's speed measured; rerun the page once it is known."""
    process.measure_speed(study.config(study.rows()[0], study.seeds[0]))
    refresh.repeat(look_for_speed, AWAIT_S)(study)


def look_for_speed(study: Study) -> None:
    if driving.knows_speed(study):
        st.rerun()
    if process.worker().current is None:
        st.caption("Measuring the speed of this machine…")
    else:
        st.caption(
            "A run is training, so the speed of this machine cannot be measured now. The plan "
            "appears here once the run has ended."
        )


def fill_edits(asked: Study, planned: Study) -> None:
    """Show the plan's values in the fields that change it, whenever the plan is another one."""
    form = st.session_state
    identity = form["draft_time"], asked.to_json()
    if form.get("draft_planned_for") != identity:
        form["draft_planned_for"] = identity
        config = planned.config(planned.rows()[0], planned.seeds[0])
        for key, path in EDITS.items():
            form[key] = get_field(config, path)


def edit_inputs(study: Study) -> None:
    """Fields for the width, epochs and training images of all values, and the margin."""
    by_row = {path for row in study.rows() for path in row.settings}
    for column, (key, path) in zip(st.columns(3), EDITS.items(), strict=True):
        with column:
            setting = choices.SETTINGS[path]
            if path in by_row:
                st.caption(f"{setting.label}: differs from value to value")
            else:
                st.number_input(
                    setting.label,
                    value=None if setting.optional else "min",
                    step=setting.step,
                    format="%g" if setting.kind is float else None,
                    placeholder=setting.none or None,
                    key=key,
                )
    st.number_input(
        "Margin (points)",
        value=study.margin,
        min_value=0.01,
        max_value=100.0,
        placeholder="none",
        key="draft_margin",
        help="Two values count as the same if the 95 % interval of their difference in accuracy "
        "lies within plus or minus this many percentage points.",
    )


def edited(asked: Study, planned: Study) -> Study:
    """The plan with the changes made by hand; they are the same for every value."""
    form = st.session_state
    by_row = {path for row in planned.rows() for path in row.settings}
    config = planned.config(planned.rows()[0], planned.seeds[0])
    changes: dict[str, Any] = {
        path: form[key]
        for key, path in EDITS.items()
        if path not in by_row and key in form and form[key] != get_field(config, path)
    }
    return dataclasses.replace(
        planned,
        base={**planned.base, **changes},
        margin=form.get("draft_margin") or asked.margin,
    )


def show_plan(planned: Plan, changed: bool) -> None:
    """Time of the study and of its values, and what was cut to make it fit."""
    study = planned.study
    runs = len(study.rows()) * rates.trainings(study)
    st.write(f"**{runs} runs, about {format_duration(planned.seconds)}** on this machine.")
    for cut in planned.cuts:
        st.caption(markdown(cut))
    if changed:
        st.caption("Changed by hand.")
    rows = [
        {
            "Value": name,
            "Time": format_duration(seconds),
            "Epochs": study.config(row, study.seeds[0]).epochs,
        }
        for row, (name, seconds) in zip(study.rows(), planned.rows, strict=True)
    ]
    st.dataframe(pd.DataFrame(rows), hide_index=True, width="content", key="plan")


def published_table(study: Study) -> None:
    rows = [
        {
            "Value": row.name,
            "Parameters (M)": row.published.parameters_m,
            "Train (%)": row.published.train_acc,
            "Validation (%)": row.published.val_acc,
        }
        for row in study.rows()
        if row.published
    ]
    if rows:
        st.caption("Published results")
        st.dataframe(pd.DataFrame(rows), hide_index=True, width="content", key="published")


def start_box(study: Study) -> None:
    """Name, Start, and a link to this plan."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input("Name", key="draft_name", max_chars=40, width=320)
        st.button("Start study", key="start_study", type="primary", on_click=start, args=(study,))
    if problem := st.session_state.pop("draft_problem", None):
        st.error(problem)
    opened.link(study)


def start(study: Study) -> None:
    """Start the study under the name in the form, and show it; a refusal becomes a message."""
    try:
        name = st.session_state["draft_name"].strip()
        study = dataclasses.replace(study, name=name)
        driving.start(study)
    except (ConfigError, DataError, RunError, StudyError) as error:
        st.session_state["draft_problem"] = told(error)
        if isinstance(error, StudyError):  # the name was taken after the draft was opened
            st.session_state["draft_name"] = free_name(name)
        return
    opened.open_study(study.name)
    st.session_state["just_opened"] = True


def told(error: ValueError) -> str:
    """An error in the form's words, as Markdown in which nothing is marked up."""
    return markdown(choices.explain(error) if isinstance(error, ConfigError) else plain(error))
