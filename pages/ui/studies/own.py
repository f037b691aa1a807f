"""The form of one's own study: a base, one or two settings that vary, and their values."""

from __future__ import annotations

import dataclasses
from typing import Any

import streamlit as st

from engine.config import RunConfig
from engine.errors import ConfigError, DataError
from engine.presets import PRESETS
from engine.settings import changed
from engine.studies.rates import RATE
from engine.studies.study import CROSS, Factor, Study
from pages.ui import choices, folders, readings
from pages.ui.choices import VARIED
from pages.ui.studies import draft
from pages.ui.studies.values import values_input
from pages.ui.text import markdown

FORM, PRESET, RUN = "The Train form", "Preset", "Run"


def own_study() -> None:
    """Ask for a base and factors; a button opens the study's draft."""
    st.subheader("Your own question", anchor=False)
    asked = st.session_state.get("vary")  # a setting, from the link beside it on the Train form
    with st.container(border=True):
        base = base_input()
        if base is None:
            return
        first, second = st.columns(2)
        try:
            with first:
                factors = [factor_input("What varies", "vary", base, asked)]
            with second:
                other = factor_input("Second factor (optional)", "vary_2", base, None)
            factors += [other] if other else []
            if factors[0] is None:
                return
            study = build(base, factors)
        except ConfigError as error:
            st.error(markdown(choices.explain(error)))
            return
        rows = " · ".join(row.name for row in study.rows())
        st.caption(f"{len(study.rows())} values: {markdown(rows)}")
        st.button(
            "Plan this study",
            key="own_study",
            type="primary" if asked else "secondary",
            on_click=draft.open_draft,
            args=(study,),
        )


def base_input() -> RunConfig | None:
    """The config that all runs of the study share, but for the factors."""
    runs = [run.name for run in readings.list_runs(folders.RUN_ROOT)]
    given = st.session_state.get("vary_base")  # from the Train form's link
    kinds = [FORM] * (given is not None) + [PRESET] + [RUN] * bool(runs)
    left, right = st.columns(2)
    with left:
        kind = st.segmented_control(
            "Start from", kinds, default=kinds[0], required=True, key="base_kind"
        )
    if kind == FORM:
        return given
    with right:
        if kind == RUN:
            name = st.selectbox("Run", runs, key="base_run")
            run = readings.find_run(name)
            config = readings.config_of(run) if run else None
            if config is None:
                st.error("The config of this run cannot be read.")
            return config
        name = st.selectbox(
            "Preset", list(PRESETS), key="base_preset", format_func=lambda n: PRESETS[n].title
        )
    return PRESETS[name].config()


def factor_input(label: str, key: str, base: RunConfig, asked: str | None) -> Factor | None:
    """A setting and its values; None if no setting is chosen."""
    options = list(VARIED)
    path = st.selectbox(
        label,
        options,
        index=options.index(asked) if asked in options else None,
        key=key if not asked else f"{key}_{asked}",
        format_func=lambda path: VARIED[path].label,
        placeholder="Choose a setting",
    )
    return values_input(path, f"{key}_values", base) if path else None


def build(base: RunConfig, factors: list[Factor]) -> Study:
    """The study of these factors. Raises ConfigError, for example with one value only."""
    for factor in factors:
        if len(factor.values) < 2:
            raise ConfigError("factors", "give two or more values")
    if any(list(value.settings) == [RATE] for factor in factors for value in factor.values):
        factors = [_without_rates(factor) for factor in factors]  # of optimizers
    if len(factors) == 2 and _paths(factors[0]) & _paths(factors[1]):
        raise ConfigError("factors", "choose two different settings")
    names = " and ".join(f"“{factor.name}”" for factor in factors)  # grammatical with any label
    slug = "-".join([*f.values[0].settings][-1].rpartition(".")[2] for f in factors)
    return Study(
        name=draft.free_name(slug.replace("_", "-")),
        question=f"What difference {'does' if len(factors) == 1 else 'do'} {names} make?",
        factors=tuple(factors),
        base=base_settings(base),
        baseline=CROSS.join(factor.values[0].name for factor in factors),
    )


def base_settings(config: RunConfig) -> dict[str, Any]:
    """Settings of a config that differ from the defaults; places and the seed are left out."""
    return {
        setting.path: list(value) if isinstance(value, tuple) else value
        for setting, value in changed(config, RunConfig())
        if setting.path in choices.LINKED and setting.path != "seed"
    }


def take_link(address: dict[str, str]) -> None:
    """Keep the Train form's settings, and the setting to vary, that a link hands over."""
    if "vary" not in address:
        return
    try:
        st.session_state["vary_base"] = choices.decode(address.get("choices", "{}"))
    except (ConfigError, DataError) as error:
        st.warning(markdown(f"The settings in the link are invalid and were ignored. {error}"))
        return
    st.session_state.pop("draft", None)  # of an earlier visit
    st.session_state["vary"] = address["vary"] if address["vary"] in VARIED else None


def _without_rates(factor: Factor) -> Factor:
    """A factor without the learning rates that its values bring, where another one varies them."""

    def kept(settings: dict[str, Any]) -> dict[str, Any]:
        return {path: v for path, v in settings.items() if path != RATE or len(settings) == 1}

    values = (dataclasses.replace(each, settings=kept(each.settings)) for each in factor.values)
    return dataclasses.replace(factor, values=tuple(values))


def _paths(factor: Factor) -> set[str]:
    return {path for value in factor.values for path in value.settings}
