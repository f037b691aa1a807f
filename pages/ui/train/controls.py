"""Widgets of the Train form. pages.ui.choices converts their values to a RunConfig and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import streamlit as st

from engine import data
from engine.config import SETTINGS, RunConfig
from engine.models import ACTIVATIONS, ARCHITECTURES, NORMS, Kind
from engine.presets import PRESETS
from engine.settings import Setting
from pages.ui import choices
from pages.ui.choices import AUGMENTATIONS, OWN_IMAGES
from pages.ui.text import markdown, without_flags
from pages.ui.train import groups
from pages.ui.train.architectures import compare
from pages.ui.train.groups import folded
from pages.ui.train.initial_weights import weights_input
from pages.ui.train.layers import compare_layers
from pages.ui.train.own import own_inputs
from pages.ui.train.strip import augmentation_strip

# A relative address, as the app may be served under a path; the browser opens it in a new tab.
NOT_SHOWN = ("augment.alternating_flip", "augment.crop_reflect")
SHOWN = "[Augmentations](Augmentations) shows its effect."


def keep(**extra: Any) -> dict[str, Any]:
    """Arguments common to all inputs: the value is kept while another page is open."""
    return {"persist_state": "session", **extra}


def control(path: str, **more: Any) -> None:
    """The widget of a setting, made from its declaration."""
    setting = SETTINGS[path]
    options = {"key": setting.key, "help": _help(setting), **keep(), **more}
    if setting.choices:
        titles = setting.titles
        st.segmented_control(
            setting.label,
            list(setting.choices),
            required=True,
            format_func=lambda name: titles.get(name, name),
            **options,
        )
    elif setting.kind is bool:
        st.toggle(setting.label, **options)
    elif setting.kind is str:
        st.text_input(setting.label, placeholder=setting.none, **options)
    else:
        # No bounds: the browser would discard a value out of range without a message to the server.
        st.number_input(
            _label(setting),
            value=None if setting.optional else "min",
            step=setting.step,
            format="%g" if setting.kind is float else None,
            placeholder=setting.none or None,
            **options,
        )


def controls(*paths: str) -> None:
    """Widgets of settings side by side."""
    for column, path in zip(st.columns(len(paths)), paths, strict=True):
        with column:
            control(path)


def _label(setting: Setting) -> str:
    named = not setting.unit or setting.unit in setting.label.lower()
    return setting.label if named else f"{setting.label} ({setting.unit})"


def _help(setting: Setting) -> str:
    text = f"{setting.help[0].upper()}{without_flags(setting.help[1:])}."
    text += f" Usual: {setting.usual}." if setting.usual else ""
    text += f" Empty: {setting.none}." if setting.optional else ""
    shown = setting.path.startswith("augment.") and setting.path not in NOT_SHOWN
    return f"{text} {SHOWN}" if shown else text


def preset_input(config: RunConfig | None) -> None:
    """Preset selection, which shows the preset that the form matches, if any.

    The key changes whenever `shown` does. A selection that the browser sends late then belongs to
    an old key and is ignored; otherwise it would undo the latest change of the form.
    """
    shown = choices.matching_preset(config)
    number, before = st.session_state.get("preset_control", (0, ""))
    if shown != before:
        number += 1
        st.session_state["preset_control"] = number, shown
    key = f"preset_{number}"
    with st.container(key="preset"):
        st.segmented_control(
            "Start from a preset",
            list(PRESETS),
            default=shown,
            required=True,
            key=key,
            format_func=lambda name: PRESETS[name].title,
            on_change=_apply_preset,
            args=(number,),
        )
        base = PRESETS[shown or choices.filled_from()]
        if shown:
            st.caption(base.description)
        elif not (count := len(groups.changes(config))):
            st.caption(f"The settings of {base.title}, with other images.")
        else:
            differ = "1 setting differs" if count == 1 else f"{count} settings differ"
            st.caption(f"{differ} from {base.title}. Choose {base.title} again to undo that.")


def _apply_preset(number: int) -> None:
    chosen = st.session_state[f"preset_{number}"]
    if chosen and number == st.session_state["preset_control"][0]:
        choices.start_from(chosen)


def own_layers() -> None:
    """Set activation and norm to the defaults of the selected architecture."""
    own = ARCHITECTURES[st.session_state["arch"]]
    st.session_state["activation"], st.session_state["norm"] = own.activation, own.norm


def data_inputs(config: RunConfig | None) -> None:
    titles = {name: spec.title for name, spec in data.DATASETS.items()}
    titles[OWN_IMAGES] = "My own images"
    st.selectbox(
        "Data set",
        list(titles),
        key="dataset",
        format_func=titles.get,
        **keep(),
    )
    if st.session_state["dataset"] == OWN_IMAGES:
        own_inputs()
        control("data.fit")
    else:
        st.caption(f"{data.DATASETS[st.session_state['dataset']].description}.")
    with folded("subset_settings", config):
        control("data.holdout")
        control("data.limit")


def model_inputs(config: RunConfig | None) -> None:
    st.selectbox(
        "Architecture",
        list(ARCHITECTURES),
        key="arch",
        on_change=own_layers,
        **keep(),
    )
    architecture = ARCHITECTURES[st.session_state["arch"]]
    st.caption(f"{architecture.description}.")
    if st.button("Compare architectures", key="compare", type="tertiary", icon=":material/table:"):
        compare(config)
    with folded("network_settings", config):
        left, middle, right = st.columns(3)
        with left:
            st.selectbox(
                "Activation",
                list(ACTIVATIONS),
                key="activation",
                help=_kinds("model.activation", ACTIVATIONS),
                **keep(),
            )
        with middle:
            st.selectbox(
                "Norm", list(NORMS), key="norm", help=_kinds("model.norm", NORMS), **keep()
            )
        with right:
            control("model.width")
        icon = ":material/table:"
        if st.button("Compare activations and norms", "compare_layers", type="tertiary", icon=icon):
            compare_layers()
        if not architecture.whitening:
            control("model.whitening")
        weights_input()


def _kinds(path: str, kinds: Mapping[str, Kind]) -> str:
    """The help of a choice among layers: one line for each."""
    lines = "".join(f"\n- **{markdown(name)}**: {kind.note}" for name, kind in kinds.items())
    return f"{SETTINGS[path].help.capitalize()}.\n{lines}"


def _keep_rate() -> None:
    """Keep the learning rate that was entered, whatever the optimizer."""
    st.session_state["lr_is_chosen"] = True


def _follow_optimizer() -> None:
    """Set the usual learning rate of the selected optimizer, unless a rate was entered."""
    form = st.session_state
    if not form["lr_is_chosen"]:
        form["lr"] = choices.untouched_rate(form["optimizer"], form["filled_from"])


def augment_inputs(config: RunConfig | None) -> None:
    st.pills(
        "Augmentations",
        list(AUGMENTATIONS),
        selection_mode="multi",
        key="augment",
        format_func=AUGMENTATIONS.get,
        help="Random changes to the training images, drawn anew in every epoch, so that the "
        "network rarely sees exactly the same image twice. Usual: Random crop and Flip. "
        "[Augmentations](Augmentations) shows each of them at work.",
        **keep(),
    )
    with st.container(key="augment_strip"):
        augmentation_strip()
    with folded("augment_settings", config):
        used = [path for path in groups.GROUPS["augment_settings"].paths if _is_switched_on(path)]
        for path in used:
            control(path)
        if not used:
            st.caption("No augmentation is on.")


def _is_switched_on(path: str) -> bool:
    return SETTINGS[path].when.path.rpartition(".")[2] in st.session_state["augment"]


def recipe_inputs(config: RunConfig | None) -> None:
    """The number of epochs; what a beginner can leave alone in an expander."""
    control("epochs")
    with folded("recipe_settings", config):
        batch, rate, warmup = st.columns(3)
        with batch:
            control("batch_size")
        with rate:
            control("optim.lr", on_change=_keep_rate)
        with warmup:
            control("schedule.warmup")
        _schedule_inputs()
        control("optim.optimizer", on_change=_follow_optimizer)
        controls("optim.momentum", "optim.weight_decay", "optim.label_smoothing")
        control("optim.nesterov")
        controls("optim.head_lr", "optim.bias_lr", "optim.ema")
        control("seed")
        control("precision")
        control("progressive")
        control("tta")
        control("compile")


def _schedule_inputs() -> None:
    control("schedule.kind")
    if st.session_state["kind"] == "multi_step":
        left, right = st.columns(2)
        with left:
            setting = SETTINGS["schedule.milestones"]
            st.text_input(
                setting.label,
                key=setting.key,
                placeholder="60, 120, 160",
                help=f"Epochs after which the learning rate is multiplied by gamma. "
                f"Usual: {setting.usual}.",
                **keep(),
            )
        with right:
            control("schedule.gamma")
    if st.session_state["kind"] == "cosine_annealing":
        control("schedule.t_max")
