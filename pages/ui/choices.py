"""Conversion of the Train form to a RunConfig and back, and to a link."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import streamlit as st

from engine import data
from engine.config import SETTINGS, RunConfig, with_fields
from engine.errors import ConfigError, DataError, DataMissing
from engine.models import ARCHITECTURES
from engine.presets import PRESETS, nearest
from engine.recipe import usual_lr
from engine.settings import Role, changed, get_field
from engine.training import initial
from pages.ui import folders

OWN_IMAGES = "own"  # the data set choice that asks for a path
AUGMENTATIONS = {  # key: label of the switches, which share one row of pills
    s.key: s.label
    for s in SETTINGS.values()
    if s.path.startswith("augment.") and s.kind is bool and s.when is None
}
# Settings whose widget has a value of another type, or that have no widget.
EXCEPTIONS = {
    *(f"augment.{key}" for key in AUGMENTATIONS),
    *("model.activation", "model.norm"),  # None is displayed as the architecture's default
    *("data.dataset", "data.root", "data.url", "device"),
    "schedule.milestones",  # a text
}
PLAIN = [s for s in SETTINGS.values() if s.flag and s.path not in EXCEPTIONS]
LINKED = [s.path for s in SETTINGS.values() if s.flag and not s.movable]
# Settings that a study may vary, by dotted path.
VARIED = {
    path: s
    for path, s in SETTINGS.items()
    if s.role is Role.FACTOR and s.flag and path not in ("pretrained", "schedule.milestones")
}


def fill(config: RunConfig) -> None:
    """Set every widget of the form to a config's value. Call before the widgets are made."""
    form = st.session_state
    for setting in PLAIN:
        form[setting.key] = get_field(config, setting.path)
    own = ARCHITECTURES[config.model.arch]
    form["activation"] = config.model.activation or own.activation
    form["norm"] = config.model.norm or own.norm
    named = config.data.dataset in data.DATASETS
    form["dataset"] = config.data.dataset if named else OWN_IMAGES
    form["dataset_path"] = "" if named else config.data.dataset
    form["augment"] = [name for name in AUGMENTATIONS if getattr(config.augment, name)]
    form["milestones"] = ", ".join(map(str, config.schedule.milestones))
    form["filled_from"] = nearest(config)
    usual = untouched_rate(config.optim.optimizer, form["filled_from"])
    form["lr_is_chosen"] = config.optim.lr != usual  # else it follows the optimizer


def untouched_rate(optimizer: str, preset: str) -> float:
    """The learning rate for an optimizer: the preset's if it is the preset's, else the usual."""
    own = PRESETS[preset].config().optim
    return own.lr if own.optimizer == optimizer else usual_lr(optimizer)


def read(root: str) -> RunConfig:
    """The config of the form. Raises ConfigError naming the first invalid setting."""
    form = st.session_state
    values: dict[str, Any] = {s.path: _entered(form[s.key]) for s in PLAIN}
    own = ARCHITECTURES[form["arch"]]
    # The architecture's defaults become None, so that commands and names stay short.
    values["model.activation"] = _unless(form["activation"], own.activation)
    values["model.norm"] = _unless(form["norm"], own.norm)
    values["model.whitening"] = form["whitening"] and not own.whitening
    path = form["dataset_path"].strip()
    if form["dataset"] == OWN_IMAGES:
        values["data.dataset"] = _own_images(path)
    else:
        values |= {"data.dataset": form["dataset"], "data.fit": SETTINGS["data.fit"].default}
    values["data.root"] = root
    if not data.is_available(values["data.dataset"], root):  # a mirror may be named on Home
        values["data.url"] = form.get(f"mirror_{values['data.dataset']}", "").strip() or None
    values |= {f"augment.{name}": name in form["augment"] for name in AUGMENTATIONS}
    values["schedule.milestones"] = form["milestones"]
    for setting in SETTINGS.values():  # settings whose widgets are hidden
        if setting.strict and values[setting.when.path] not in setting.when.values:
            values[setting.path] = setting.default
    values["schedule.milestones"] = _milestones(values["schedule.milestones"])
    return with_fields(RunConfig(), values)


def lacks_path() -> bool:
    """Whether the form asks for the path of the user's own images and has none yet."""
    form = st.session_state
    return form["dataset"] == OWN_IMAGES and not form["dataset_path"].strip()


def prepare_form(first: str, shared: str | None) -> None:
    """Fill the form from a link (see encode), or on the first visit from the preset `first`."""
    if shared:
        try:
            fill(decode(shared))
            return
        except ConfigError as error:
            st.warning(f"The settings in the link are invalid and were ignored. {explain(error)}")
    if "arch" not in st.session_state:
        fill(PRESETS[first].config())


def start_from(name: str) -> None:
    """Fill the form from a preset; where that keeps settings, the form's data and weights stay."""
    form, preset = st.session_state, PRESETS[name]
    config, kept = preset.config(), {}
    if preset.keeps:
        keys = (s.key for s in PLAIN if s.path.startswith("data."))
        kept = {key: form[key] for key in ("dataset", "dataset_path", *keys)}
        weights = _entered(form["pretrained"]) or config.pretrained
        config = with_fields(config, {"pretrained": weights})
        with contextlib.suppress(ConfigError):  # no such weights: told where the form is read
            config = initial.follow(config, folders.RUN_ROOT)
    fill(config)
    for key, value in kept.items():
        form[key] = value
    form["filled_from"] = name


def filled_from() -> str:
    """The preset that the form was filled from, or the nearest to what it was filled with."""
    return st.session_state["filled_from"]


def valid(root: str) -> RunConfig | None:
    """The config of the form, or None if a setting is invalid."""
    try:
        return read(root)
    except ConfigError:
        return None


def matching_preset(config: RunConfig | None) -> str | None:
    """The preset with the settings of a config, if any."""
    if config is None:
        return None
    fitting = (p for p in PRESETS if config.pretrained or not PRESETS[p].keeps)
    link = encode(config)
    return next((name for name in fitting if encode(PRESETS[name].over(config)) == link), None)


def encode(config: RunConfig) -> str:
    """Settings that differ from the defaults, as JSON for the URL.

    Movable settings, such as the data folder, are left out. The user's own images are a path.
    """
    differs = {s.path: value for s, value in changed(config, RunConfig()) if s.path in LINKED}
    return json.dumps(differs, separators=(",", ":"))


def decode(choices: str) -> RunConfig:
    """The inverse of encode. Raises ConfigError for anything else."""
    try:
        values = json.loads(choices[:10_000])
    except (ValueError, RecursionError):
        raise ConfigError("choices", "the link is damaged") from None
    if not isinstance(values, dict):
        raise ConfigError("choices", "the link is damaged")
    for path in values:
        if path not in LINKED:
            raise ConfigError(str(path)[:60], "unknown setting")
    return with_fields(RunConfig(), values)


def explain(error: ConfigError) -> str:
    """An error with the setting's label in front."""
    setting = SETTINGS.get(error.field)
    label = setting.label if setting else error.field.capitalize()
    return f"{label}: {str(error).removeprefix(f'{error.field}: ')}."


def _own_images(path: str) -> str:
    """A path as a data set. Raises ConfigError unless it is that of a file or a folder."""
    found = f"there is nothing at {path[:200]}" if path else "no folder or zip is named yet"
    try:
        data.own_path(path)
    except DataMissing:
        raise ConfigError("data.dataset", f"{found}; give the path of a folder or zip") from None
    except DataError as error:
        raise ConfigError("data.dataset", str(error)) from None
    return path if path not in data.DATASETS else f"./{path}"  # a folder of that name


def _unless(value: str, own: str) -> str | None:
    return None if value == own else value


def _entered(value: Any) -> Any:
    """A widget's value; an empty text is None."""
    return value.strip() or None if isinstance(value, str) else value


def _milestones(text: str | tuple[int, ...]) -> list[int]:
    """The epochs in a text such as "60, 120"."""
    if not isinstance(text, str):
        return list(text)
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ConfigError("schedule.milestones", "give epochs, such as 60, 120, 160") from None
