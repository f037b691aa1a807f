"""The Train form's values: to RunConfig and back. One table says which widget sets which field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st

from engine import data
from engine.config import RunConfig, get_field, with_fields
from engine.errors import ConfigError
from engine.models import ARCHITECTURES
from engine.presets import PRESETS

OWN_IMAGES = "own"  # the data set choice that asks for a path
AUGMENTATIONS = {
    "crop": "Random crop",
    "flip": "Flip",
    "erasing": "Random erasing",
    "mixup": "Mixup",
    "cutmix": "CutMix",
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
    if not data.is_available(values["data.dataset"], root):  # a mirror may be named on Home
        values["data.url"] = form.get(f"mirror_{values['data.dataset']}", "").strip() or None
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


def prepare_form(first: str, shared: str | None) -> None:
    """Fill the form: with shared choices (see encode), else at first with a preset."""
    if shared:
        try:
            fill(decode(shared))
            return
        except ConfigError as error:
            st.warning(f"The link's choices do not fit and were left out. {explain(error)}")
    if "arch" not in st.session_state:
        fill(PRESETS[first].config())


def matching_preset(root: str) -> str | None:
    """The preset that the form shows unchanged, if any."""
    try:
        shown = encode(read(root))
    except ConfigError:
        return None
    return next((name for name, p in PRESETS.items() if encode(p.config()) == shown), None)


def encode(config: RunConfig) -> str:
    """The choices that differ from the defaults, for an address.

    Not where downloads are kept; one's own images are a path, and nothing without it.
    """
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
    "data.url": "Mirror (on Home)",
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


def label(field: str) -> str:
    """What the form calls a field: optim.lr is Learning rate there."""
    plain = field.rpartition(".")[2].replace("_", " ").capitalize()
    return FIELD_LABELS.get(field, plain)


def explain(error: ConfigError) -> str:
    """An error in the form's own words."""
    return f"{label(error.field)}: {str(error).removeprefix(f'{error.field}: ')}."


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
