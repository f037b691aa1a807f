"""Groups of settings that fold, stay as the user left them, and say what is changed in them.

Session state: "open_groups" holds the keys of the open ones while another page is shown; see also
address.remember, which keeps them through a reload.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine import data
from engine.config import SETTINGS, RunConfig
from engine.models import ARCHITECTURES
from engine.presets import PRESETS
from engine.settings import Setting, changed
from pages.ui import choices
from pages.ui.text import markdown


@dataclass(frozen=True)
class Group:
    """An expander with the settings of these paths."""

    title: str
    paths: tuple[str, ...]


GROUPS = {
    "subset_settings": Group("Validation and subset", ("data.holdout", "data.limit")),
    "network_settings": Group(
        "Activation, norm, width, trained weights",
        ("model.activation", "model.norm", "model.width", "model.whitening", "pretrained"),
    ),
    "augment_settings": Group(
        "Probabilities and strengths",
        tuple(path for path, s in SETTINGS.items() if path.startswith("augment.") and s.when),
    ),
    "recipe_settings": Group(
        "Learning rate, optimizer, seed",
        (
            *("batch_size", "seed", "precision", "compile", "progressive", "tta"),
            *(path for path in SETTINGS if path.startswith(("optim.", "schedule."))),
        ),
    ),
}


def restore(opened: str) -> None:
    """Open the groups that an address names, on entering the page; unknown names are ignored."""
    st.session_state.setdefault("open_groups", set()).update(set(opened.split(",")) & set(GROUPS))


def opened() -> list[str]:
    """Keys of the open groups, in the form's order."""
    return [key for key in GROUPS if key in st.session_state.get("open_groups", ())]


def holding(path: str) -> str | None:
    """The key of the group that holds a setting; None if it is always in sight."""
    return next((key for key, group in GROUPS.items() if path in group.paths), None)


@contextlib.contextmanager
def folded(key: str, config: RunConfig | None) -> Iterator[None]:
    """The expander of a group; below it, what differs in `config` from the form's preset."""
    form = st.session_state
    kept = form.setdefault("open_groups", set())
    if key not in form:  # on entering the page; its state is not kept while another page is open
        form[key] = key in kept
    # The label is part of the expander's identity: with the changes in it, it would fold.
    box = st.expander(GROUPS[key].title, key=key, on_change="rerun")
    (kept.add if box.open else kept.discard)(key)
    with box:
        yield
    if differs := [word for path, word in _differences(config) if path in GROUPS[key].paths]:
        with st.container(key=f"{key}_changed"):
            st.caption(f"Changed: {markdown(', '.join(differs))}")


def changes(config: RunConfig | None) -> list[str]:
    """What differs in a config from the form's preset, such as "Seed 3"."""
    return [word for _, word in _differences(config)]


def _differences(config: RunConfig | None) -> Iterable[tuple[str, str]]:
    base = PRESETS[choices.filled_from()]
    found = changed(config, base.over(config)) if config else ()
    return [
        (setting.path, f"{setting.label} {shown(setting, value, config)}")
        for setting, value in found
        if setting.path in choices.LINKED
    ]


def shown(setting: Setting, value: Any, config: RunConfig) -> str:
    """A setting's value in the words of the form."""
    if setting.path == "data.dataset":
        return data.name_of(value)
    if value is None and setting.path in ("model.activation", "model.norm"):
        return getattr(ARCHITECTURES[config.model.arch], setting.key)
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    if value is None:
        return setting.none
    return setting.titles.get(value, f"{value:g}" if isinstance(value, float) else str(value))
