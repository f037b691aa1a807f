"""Forms that enlarge a study: more seeds, one more value."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import streamlit as st

from engine.config import SETTINGS
from engine.errors import ConfigError, DataError, RunError, StudyError
from engine.studies import rates
from engine.studies.study import MAX_SEEDS, Factor, Study, Value
from pages.ui import choices
from pages.ui.studies import driving
from pages.ui.studies.values import title, value_input
from pages.ui.text import markdown


def add_seeds(study: Study) -> None:
    """Ask how many seeds to add."""
    count = st.number_input(
        "Seeds to add", min_value=1, max_value=MAX_SEEDS, value=1, key="seeds_to_add"
    )
    st.caption(
        "More seeds narrow the intervals. The verdict says that they were added after results were "
        "seen: adding seeds until a result looks good can make chance look like a difference."
    )
    st.button("Add", key="add_seeds_now", type="primary", on_click=_seeds, args=(study.name, count))


def _seeds(name: str, count: int) -> None:
    def edit(study: Study) -> Study:
        first = max(study.all_seeds()) + 1
        added = (*study.added_seeds, *range(first, first + int(count)))
        return dataclasses.replace(study, added_seeds=added)

    _change(name, edit)


def add_value(study: Study) -> None:
    """Ask for one more value: the settings that the study's values have, and a name."""
    factor = study.factors[0]
    paths = dict.fromkeys(path for value in factor.values for path in value.settings)
    if study.fair_rates:
        paths.pop(rates.RATE, None)  # it will be chosen
    base = study.config(factor.values[0], study.seeds[0])
    try:
        settings = {path: value_input(path, "new_value", base) for path in paths}
    except ConfigError as error:
        st.error(markdown(choices.explain(error)))
        return
    suggested = ", ".join(title(SETTINGS[path], value) for path, value in settings.items())
    name = st.text_input("Name", placeholder=suggested, key="new_value_name", max_chars=80)
    st.button(
        "Add", key="add_value_now", type="primary",
        on_click=_value, args=(study.name, Value(name.strip() or suggested, settings)),
    )  # fmt: skip


def _value(name: str, value: Value) -> None:
    def edit(study: Study) -> Study:
        factor = study.factors[0]
        factors = (Factor(factor.name, (*factor.values, value)),)
        return dataclasses.replace(study, factors=factors)

    _change(name, edit)


def _change(name: str, edit: Callable[[Study], Study]) -> None:
    """Change the stored study and start its new runs; a refusal becomes a message."""
    try:
        driving.change(name, edit)
    except (ConfigError, DataError, RunError, StudyError) as error:
        st.session_state["study_problem"] = str(error)
