"""The Train form: widgets to RunConfig and back. One table says which widget sets which field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st

from engine import data
from engine.config import OPTIMIZERS, PRECISIONS, SCHEDULES, RunConfig, get_field, with_fields
from engine.errors import ConfigError
from engine.models import ACTIVATIONS, ARCHITECTURES, NORMS
from engine.presets import PRESETS

OWN_IMAGES = "own"  # the data set choice that asks for a path
AUGMENTATIONS = {
    "crop": "Random crop",
    "flip": "Flip",
    "erasing": "Random erasing",
    "mixup": "Mixup",
    "cutmix": "CutMix",
}
SCHEDULE_NAMES = {
    "cosine_annealing": "Cosine",
    "multi_step": "Steps",
    "one_cycle": "One cycle",
    "triangular": "Triangle",
    "linear": "Line",
    "constant": "Constant",
}
# widget key: field of RunConfig that it holds as it is
FIELDS = {
    "arch": "model.arch",
    "width": "model.width",
    "whitening": "model.whitening",
    "holdout": "data.holdout",
    "epochs": "epochs",
    "batch_size": "batch_size",
    "seed": "seed",
    "precision": "precision",
    "lr": "optim.lr",
    "optimizer": "optim.optimizer",
    "momentum": "optim.momentum",
    "nesterov": "optim.nesterov",
    "weight_decay": "optim.weight_decay",
    "label_smoothing": "optim.label_smoothing",
    "head_lr": "optim.head_lr",
    "bias_lr": "optim.bias_lr",
    "ema": "optim.ema",
    "sche": "schedule.kind",
    "gamma": "schedule.gamma",
    "warmup": "schedule.warmup",
    "crop_padding": "augment.crop_padding",
    "crop_reflect": "augment.crop_reflect",
    "alternating_flip": "augment.alternating_flip",
    "mixup_alpha": "augment.mixup_alpha",
    "cutmix_alpha": "augment.cutmix_alpha",
    "progressive": "progressive",
    "compile": "compile",
    "tta": "tta",
}


def fill(config: RunConfig) -> None:
    """Set every widget of the form to a config's value. Call before the widgets are made."""
    form = st.session_state
    for key, path in FIELDS.items():
        form[key] = get_field(config, path)
    own = ARCHITECTURES[config.model.arch]
    form["activation"] = config.model.activation or own.activation
    form["norm"] = config.model.norm or own.norm
    named = config.data.dataset in data.DATASETS
    form["dataset"] = config.data.dataset if named else OWN_IMAGES
    form["dataset_path"] = "" if named else config.data.dataset
    form["limit"] = config.data.limit or 0
    form["augment"] = [name for name in AUGMENTATIONS if getattr(config.augment, name)]
    form["milestones"] = ", ".join(map(str, config.schedule.milestones))
    form["t_max"] = config.schedule.t_max or 0
    form["pretrained"] = config.pretrained or ""


def read(root: str) -> RunConfig:
    """The config that the form shows. Raises ConfigError for what cannot work."""
    form = st.session_state
    values: dict[str, Any] = {path: form[key] for key, path in FIELDS.items()}
    own = ARCHITECTURES[form["arch"]]
    # The architecture's own choice is left open, so that commands and names stay short.
    values["model.activation"] = _unless(form["activation"], own.activation)
    values["model.norm"] = _unless(form["norm"], own.norm)
    path = form["dataset_path"].strip()
    if form["dataset"] == OWN_IMAGES and not _exists(path):
        found = f"there is nothing at {path}" if path else "no folder or zip is named yet"
        raise ConfigError("data.dataset", f"{found}; give the path of a folder or zip")
    values["data.dataset"] = path if form["dataset"] == OWN_IMAGES else form["dataset"]
    values["data.root"] = root
    values["data.limit"] = form["limit"] or None
    values |= {f"augment.{name}": name in form["augment"] for name in AUGMENTATIONS}
    steps = form["sche"] == "multi_step"
    values["schedule.milestones"] = _milestones(form["milestones"]) if steps else ()
    cosine = form["sche"] == "cosine_annealing"
    values["schedule.t_max"] = (form["t_max"] or None) if cosine else None
    values["optim.nesterov"] = form["nesterov"] and form["optimizer"] == "sgd"
    values["augment.alternating_flip"] = form["alternating_flip"] and "flip" in form["augment"]
    whitened = ARCHITECTURES[form["arch"]].whitening
    values["model.whitening"] = form["whitening"] and not whitened
    values["pretrained"] = form["pretrained"].strip() or None
    return with_fields(RunConfig(), values)


def prepare_form(first: str) -> None:
    """Fill the form once a session: from the address if it holds choices, else from a preset."""
    shared = st.query_params.get("choices")
    form = st.session_state
    if shared and form.get("choices_taken") != shared:
        form["choices_taken"] = shared
        try:
            fill(decode(shared))
            form["preset"] = None
            return
        except ConfigError as error:
            st.warning(f"The link's choices do not fit and were left out. {explain(error)}")
    if "arch" not in form:
        form["preset"] = first
        fill(PRESETS[first].config())


def encode(config: RunConfig) -> str:
    """The choices that differ from the defaults, for an address; where data lie stays private."""
    default = RunConfig()
    fields = {**dict.fromkeys(FIELDS.values()), **dict.fromkeys(EXTRA_FIELDS)}
    changed = {
        p: get_field(config, p) for p in fields if get_field(config, p) != get_field(default, p)
    }
    return json.dumps(changed, separators=(",", ":"))


EXTRA_FIELDS = (
    "model.activation",
    "model.norm",
    "data.dataset",
    "data.limit",
    "schedule.milestones",
    "schedule.t_max",
    "pretrained",
    *(f"augment.{name}" for name in AUGMENTATIONS),
)


def decode(choices: str) -> RunConfig:
    """The inverse of encode. Raises ConfigError for anything else."""
    try:
        values = json.loads(choices[:10_000])
    except (ValueError, RecursionError):
        raise ConfigError("choices", "the link is damaged") from None
    if not isinstance(values, dict):
        raise ConfigError("choices", "the link is damaged")
    allowed = {*FIELDS.values(), *EXTRA_FIELDS}
    for path in values:
        if path not in allowed:
            raise ConfigError(str(path)[:60], "unknown setting")
    return with_fields(RunConfig(), values)


# what the form calls a field, where that is not the field's own name
FIELD_LABELS = {
    "model.arch": "Architecture",
    "data.dataset": "Data set",
    "data.holdout": "Held-out training images",
    "data.limit": "Train on at most so many images",
    "optim.lr": "Learning rate",
    "schedule.kind": "Schedule",
    "schedule.milestones": "Drop after epochs",
    "schedule.gamma": "Factor of a drop",
    "schedule.t_max": "Epochs to reach 0",
    "schedule.warmup": "Warm-up epochs",
    "optim.head_lr": "Head's rate",
    "optim.bias_lr": "Biases' rate",
    "optim.ema": "Moving average of the weights",
    "augment.crop_padding": "Crop moves by up to (pixels)",
    "progressive": "Small images first",
    "augment.mixup_alpha": "Mixup α",
    "augment.cutmix_alpha": "CutMix α",
    "pretrained": "Start from the weights of",
}


def explain(error: ConfigError) -> str:
    """An error in the form's own words: optim.lr is Learning rate there."""
    plain = error.field.rpartition(".")[2].replace("_", " ").capitalize()
    label = FIELD_LABELS.get(error.field, plain)
    return f"{label}: {str(error).removeprefix(f'{error.field}: ')}."


def _exists(path: str) -> bool:
    try:
        return bool(path) and Path(path).exists()
    except (OSError, ValueError):  # too long, or with a NUL in it
        return False


def _unless(value: str, own: str) -> str | None:
    return None if value == own else value


def _milestones(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise ConfigError("schedule.milestones", "give epochs, such as 60, 120, 160") from None


# ---------------------------------------------------------------------------- the widgets


def keep(**extra: Any) -> dict[str, Any]:
    """What every input shares: its value outlives a visit to another page."""
    return {"persist_state": "session", **extra}


def apply_preset() -> None:
    chosen = st.session_state["preset"]
    if chosen:
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
            help="With train/<class>/… and test/<class>/…, or just <class>/…",
            **keep(),
        )
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
