"""The widgets of the Train form; what they hold is in pages.ui.choices."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine import data
from engine.config import OPTIMIZERS, PRECISIONS, SCHEDULES
from engine.models import ACTIVATIONS, ARCHITECTURES, NORMS
from engine.presets import PRESETS
from pages.ui.choices import AUGMENTATIONS, OWN_IMAGES, fill

SCHEDULE_NAMES = {
    "cosine_annealing": "Cosine",
    "multi_step": "Steps",
    "one_cycle": "One cycle",
    "triangular": "Triangle",
    "linear": "Line",
    "constant": "Constant",
}


def keep(**extra: Any) -> dict[str, Any]:
    """What every input shares: its value outlives a visit to another page."""
    return {"persist_state": "session", **extra}


def preset_input(shown: str | None) -> None:
    """The choice of a preset; `shown` is the one that the form matches.

    Each time that is another one, so is its key: a value of before a change, which the browser may
    send late, is then known to be of a control that is no more. It would undo that change.
    """
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
            help=" ".join(f"**{p.title}**: {p.description}" for p in PRESETS.values()),
        )


def _apply_preset(number: int) -> None:
    chosen = st.session_state[f"preset_{number}"]
    if chosen and number == st.session_state["preset_control"][0]:
        fill(PRESETS[chosen].config())


def own_layers() -> None:
    """A new architecture starts with its own activation and norm."""
    own = ARCHITECTURES[st.session_state["arch"]]
    st.session_state["activation"], st.session_state["norm"] = own.activation, own.norm


def data_inputs() -> None:
    titles = {name: spec.title for name, spec in data.DATASETS.items()}
    titles[OWN_IMAGES] = "My own images"
    st.selectbox("Data set", list(titles), key="dataset", format_func=titles.get, **keep())
    if st.session_state["dataset"] == OWN_IMAGES:
        st.text_input(
            "Folder or zip on this computer",
            key="dataset_path",
            help="With train/<class>/… and test/<class>/…, or just <class>/…. Splits may have "
            "other customary names, such as Training or val.",
            **keep(),
        )
    else:
        st.caption(f"{data.DATASETS[st.session_state['dataset']].description}.")
    with st.expander("Validation and subset"):
        st.number_input(
            "Held-out training images",
            min_value=0,
            step=500,
            key="holdout",
            help="0: validate on the test set, as the study did. The best epoch is then chosen on "
            "test data, and every figure says so.",
            **keep(),
        )
        st.number_input(
            "Train on at most so many images",
            min_value=0,
            step=1000,
            key="limit",
            help="0: all of them. The subset is chosen by the seed.",
            **keep(),
        )


def model_inputs() -> None:
    st.selectbox("Architecture", list(ARCHITECTURES), key="arch", on_change=own_layers, **keep())
    architecture = ARCHITECTURES[st.session_state["arch"]]
    st.caption(f"{architecture.description}. {architecture.paper}")
    left, middle, right = st.columns(3)
    with left:
        st.selectbox("Activation", list(ACTIVATIONS), key="activation", **keep())
    with middle:
        st.selectbox("Norm", list(NORMS), key="norm", **keep())
    with right:
        st.number_input(
            "Width",
            min_value=0.0,
            max_value=64.0,
            step=0.25,
            format="%g",
            key="width",
            help="Multiplies every channel count.",
            **keep(),
        )
    if not architecture.whitening:
        st.toggle(
            "Whitening layer first",
            key="whitening",
            help="A fixed first layer that decorrelates the pixels of 2×2 patches.",
            **keep(),
        )


def augment_inputs() -> None:
    st.pills(
        "Augmentations",
        list(AUGMENTATIONS),
        selection_mode="multi",
        key="augment",
        format_func=AUGMENTATIONS.get,
        **keep(),
    )
    if "crop" in st.session_state["augment"]:
        st.number_input("Crop moves by up to (pixels)", 1, 16, step=1, key="crop_padding", **keep())
        st.toggle(
            "Mirror at the edge",
            key="crop_reflect",
            help="A moved image goes on as its own mirror image, not in black.",
            **keep(),
        )
    if "flip" in st.session_state["augment"]:
        st.toggle(
            "Alternating flip",
            key="alternating_flip",
            help="By chance in the first epoch, then the other way round every epoch.",
            **keep(),
        )
    for name in ("mixup", "cutmix"):
        if name in st.session_state["augment"]:
            alpha = st.session_state[f"{name}_alpha"]
            st.slider(
                f"{AUGMENTATIONS[name]} α",
                min(0.05, alpha),  # a run of the command line may have any
                max(2.0, alpha),
                step=0.05,
                key=f"{name}_alpha",
                help="λ ~ Beta(α, α): small values mix little, 1 mixes evenly.",
                **keep(),
            )


def recipe_inputs() -> None:
    first, second, third = st.columns(3)
    with first:
        st.number_input("Epochs", min_value=1, step=1, key="epochs", **keep())
    with second:
        st.number_input("Batch size", min_value=1, step=16, key="batch_size", **keep())
    with third:
        st.number_input("Learning rate", min_value=0.0, step=0.01, format="%g", key="lr", **keep())
    st.segmented_control(
        "Schedule", SCHEDULES, key="sche", format_func=SCHEDULE_NAMES.get, required=True, **keep()
    )
    if st.session_state["sche"] == "multi_step":
        left, right = st.columns(2)
        with left:
            st.text_input(
                "Drop after epochs", key="milestones", placeholder="60, 120, 160", **keep()
            )
        with right:
            st.number_input(
                "Factor of a drop", 0.0, 1.0, step=0.05, format="%g", key="gamma", **keep()
            )
    if st.session_state["sche"] == "cosine_annealing":
        st.number_input(
            "Epochs to reach 0", min_value=0, step=1, key="t_max", help="0: all epochs.", **keep()
        )
    st.toggle(
        "Small images first",
        key="progressive",
        help="The first part of the run sees images scaled down to 20, then 26 pixels: faster.",
        **keep(),
    )
    st.toggle(
        "Test-time augmentation at the end",
        key="tta",
        help="The last epoch is also measured on six moved and mirrored views of each image.",
        **keep(),
    )
    with st.expander("Optimizer, seed, precision"):
        _fine_inputs()


def _fine_inputs() -> None:
    st.segmented_control("Optimizer", OPTIMIZERS, key="optimizer", required=True, **keep())
    st.segmented_control("Precision", PRECISIONS, key="precision", required=True, **keep())
    left, right = st.columns(2)
    with left:
        st.number_input("Momentum", 0.0, 0.9999, step=0.05, format="%g", key="momentum", **keep())
        st.toggle("Nesterov", key="nesterov", help="For SGD.", **keep())
        st.number_input("Seed", min_value=0, max_value=2**31 - 1, step=1, key="seed", **keep())
    with right:
        st.number_input(
            "Weight decay", min_value=0.0, step=1e-4, format="%g", key="weight_decay", **keep()
        )
        st.number_input(
            "Label smoothing",
            0.0,
            0.9999,
            step=0.05,
            format="%g",
            key="label_smoothing",
            **keep(),
        )
        st.number_input("Warm-up epochs", min_value=0.0, step=1.0, key="warmup", **keep())
    left, middle, right = st.columns(3)
    with left:
        st.number_input(
            "Head's rate",
            0.0,
            10_000.0,
            step=1.0,
            format="%g",
            key="head_lr",
            help="Factor on the last layer's learning rate.",
            **keep(),
        )
    with middle:
        st.number_input(
            "Biases' rate",
            0.0,
            10_000.0,
            step=1.0,
            format="%g",
            key="bias_lr",
            help="Factor on the learning rate of biases.",
            **keep(),
        )
    with right:
        st.number_input(
            "Moving average",
            0.0,
            0.99999,
            step=0.001,
            format="%g",
            key="ema",
            help="Decay per step of the averaged weights, which are validated and kept; 0: off.",
            **keep(),
        )
    st.toggle(
        "Compile the network first",
        key="compile",
        help="Takes a minute or so before the first step, and pays on a GPU.",
        **keep(),
    )
    st.text_input(
        "Start from the weights of",
        key="pretrained",
        placeholder="a run's name; empty: none",
        **keep(),
    )
