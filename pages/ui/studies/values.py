"""Widgets for values of a setting, and their conversion to values of a factor."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine.config import SETTINGS, RunConfig
from engine.errors import ConfigError
from engine.models import ARCHITECTURES
from engine.recipe import usual_lr
from engine.settings import Setting, get_field
from engine.studies.rates import RATE
from engine.studies.study import Factor, Value
from pages.ui.choices import VARIED

OPTIMIZER = "optim.optimizer"


def values_input(path: str, key: str, base: RunConfig) -> Factor:
    """Ask for two or more values of a setting. Raises ConfigError for what is no value."""
    setting = VARIED[path]
    now = current(path, base)
    if setting.kind is bool:
        chosen: list[Any] = [False, True]
        st.caption(f"{setting.label}: off and on")
    elif setting.choices:
        options = list(setting.choices)
        others = [option for option in options if option != now]
        chosen = st.multiselect(
            "Values",
            options,
            default=[now, *others[:1]] if now in options else others[:2],
            key=f"{key}_{path}",
            format_func=lambda name: setting.titles.get(name, name),
        )
    else:
        text = st.text_input(
            f"Values{f' ({setting.unit})' if setting.unit else ''}",
            value=_suggestion(setting, now),
            key=f"{key}_{path}",
            help="Numbers, separated by semicolons.",
        )
        chosen = [parse(setting, part) for part in text.split(";") if part.strip()]
    if path == OPTIMIZER:
        rates = (f"{name} {settings_of(path, name, base)[RATE]:g}" for name in chosen)
        st.caption(f"Learning rates: {', '.join(rates)}, unless the second factor varies them")
    values = (Value(title(setting, value), settings_of(path, value, base)) for value in chosen)
    return Factor(setting.label, tuple(values))


def settings_of(path: str, value: Any, base: RunConfig) -> dict[str, Any]:
    """The settings of a value, and those that it needs.

    The switch that a setting depends on is turned on with it; an optimizer other than the base's
    brings its usual learning rate.
    """
    when = SETTINGS[path].when
    needed = {when.path: when.values[0]} if when and when.values == (True,) else {}
    if path == OPTIMIZER:
        own = base.optim
        needed = {RATE: own.lr if value == own.optimizer else usual_lr(value)}
    return {**needed, path: value}


def title(setting: Setting, value: Any) -> str:
    """The name of a value, unique within the factor."""
    if setting.kind is bool:
        return "on" if value else "off"
    if value is None:
        return setting.none or "none"
    text = f"{value:g}" if isinstance(value, float) else setting.titles.get(value, str(value))
    # A bare number says little in a sentence.
    return text if setting.kind is str else f"{setting.label.lower()} {text}"


def current(path: str, base: RunConfig) -> Any:
    """The setting's value in a config; the architecture's own layers by their names."""
    value = get_field(base, path)
    if value is None and path in ("model.activation", "model.norm"):
        return getattr(ARCHITECTURES[base.model.arch], path.removeprefix("model."))
    return value


def value_input(path: str, key: str, base: RunConfig) -> Any:
    """Ask for one value of a setting. Raises ConfigError for what is no value."""
    setting, now = SETTINGS[path], current(path, base)
    options: dict[str, Any] = {"key": f"{key}_{path}"}
    if setting.kind is bool:
        return st.toggle(setting.label, value=now, **options)
    if setting.choices:
        names = list(setting.choices)
        index = names.index(now) if now in names else 0
        return st.selectbox(setting.label, names, index=index, **options)
    return parse(setting, st.text_input(setting.label, value=f"{now}", **options))


def parse(setting: Setting, text: str) -> Any:
    """A number of a setting, as typed. Raises ConfigError naming the setting."""
    text = text.strip().replace(",", ".")
    try:
        return int(text) if setting.kind is int else float(text)
    except ValueError:
        raise ConfigError(setting.path, f"{text[:40]!r} is not a number") from None


def _suggestion(setting: Setting, now: Any) -> str:
    if now is None:
        return ""
    if setting.kind is int:
        return f"{now}; {now * 2 if now else 1}"
    return f"{now:g}; {now * 3:g}" if now else "0; 0.1"
