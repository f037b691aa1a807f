"""The choice of weights to start from: a run, a shipped network, or a file by path."""

from __future__ import annotations

import contextlib
from itertools import islice

import streamlit as st

from engine import data
from engine.config import SETTINGS, ModelConfig, RunConfig, with_fields
from engine.errors import ConfigError, DataError, RunError
from engine.models import ARCHITECTURES
from engine.runs import compare
from engine.runs.run import Run
from pages.ui import choices, folders, readings
from pages.ui.choices import OWN_IMAGES
from pages.ui.text import markdown, percent
from pages.ui.weights import KINDS, dataset_title

LISTED = 50  # newest runs in the list; others can be named
Images = tuple[RunConfig, compare.Info]  # as compare.same_data has them


def weights_input() -> None:
    """The list, and what the chosen weights need of the network."""
    setting = SETTINGS["pretrained"]
    sources = _sources()
    images = _form_images()
    labels = {name: _described(name, run, images) for name, run in sources.items()}
    st.selectbox(
        setting.label,
        list(sources),
        index=None,
        key="pretrained",
        accept_new_options=True,
        placeholder="Nothing: random weights",
        format_func=lambda name: labels.get(name, name),
        help=f"{setting.help[0].upper()}{setting.help[1:]}. Empty: random weights. A choice sets "
        "architecture, activation, norm and width to those of its weights.",
        on_change=_follow,
        args=(sources,),
        persist_state="session",
    )
    chosen = st.session_state["pretrained"]
    config = readings.config_of(sources[chosen]) if chosen in sources else None
    if config is None:
        return
    if _layers(config.model) == _form_layers():
        st.caption(f"The network was set to match these weights: {_named(config.model)}.")
    else:
        st.warning(f"These weights need {_named(config.model)}.")
        st.button(
            "Match the network to these weights",
            key="follow_weights",
            on_click=_set,
            args=(config,),
        )


def _sources() -> dict[str, Run]:
    """Runs with weights by the name that `RunConfig.pretrained` gives them, shipped ones last."""
    own = (run for run in readings.list_runs(folders.RUN_ROOT) if _has_weights(run))
    found = {run.name: run for run in islice(own, LISTED)}
    for run in readings.shipped_networks():
        if _has_weights(run):  # a run of the same name takes precedence
            taken = _has_weights(Run(folders.RUN_ROOT / run.name))
            found[f"pretrained/{run.name}" if taken else run.name] = run
    return found


def _has_weights(run: Run) -> bool:
    try:
        return (run.path / KINDS["last"]).is_file()
    except OSError:
        return False


def _described(name: str, run: Run, images: Images | None) -> str:
    """An option: network, images and accuracy, and whether the images are those of the form."""
    config = readings.config_of(run)
    if config is None:
        return name
    info = readings.dataset_info(run) or {}
    parts = [name, run.title(), _size(config.model), dataset_title(str(info.get("name", "")))]
    with contextlib.suppress(RunError):
        parts.append(percent(accuracy) if (accuracy := run.status().final_acc) else "")
    parts.append(_fit((config, info), images) if images else "")
    return " · ".join(part for part in parts if part)


def _form_images() -> Images | None:
    """The form's images, described as far as they have been read; None without a path."""
    form = st.session_state
    if choices.lacks_path():
        return None
    own = form["dataset"] == OWN_IMAGES
    dataset = form["dataset_path"].strip() if own else form["dataset"]
    try:
        config = with_fields(RunConfig(), {"data.dataset": dataset, "data.fit": form["fit"]})
    except ConfigError:  # told beside the form
        return None
    info = None
    if own:
        with contextlib.suppress(DataError):  # told beside the form
            info = readings.own_images(dataset, form["fit"]).info
    return config, info


def _fit(weights: Images, images: Images) -> str:
    """Whether weights know these images, or need another last layer for their classes."""
    if compare.same_data(weights, images):
        return "same data set"
    known = (weights[1] or {}).get("classes") or []
    if now := images[1]:
        replaced = list(known) != list(now["classes"])
    else:  # the classes of a data set that is not read here are known by their number
        spec = data.DATASETS.get(images[0].data.dataset)
        replaced = spec is not None and len(known) != spec.num_classes
    replaced = replaced and bool(known)
    return "other data set, last layer is replaced" if replaced else "other data set"


def _size(model: ModelConfig) -> str:
    return model.arch if model.width == 1 else f"{model.arch} × {model.width:g}"


def _named(model: ModelConfig) -> str:
    arch, activation, norm, width, whitening = _layers(model)
    first = ", a whitening layer first" if whitening else ""
    return f"**{markdown(arch)}**, {activation}, {norm} norm, width {width:g}{first}"


def _layers(model: ModelConfig) -> tuple[str, str, str, float, bool]:
    own = ARCHITECTURES[model.arch]
    layers = model.activation or own.activation, model.norm or own.norm
    return model.arch, *layers, model.width, model.whitening and not own.whitening


def _form_layers() -> tuple[str, str, str, float | None, bool]:
    form = st.session_state
    whitening = form["whitening"] and not ARCHITECTURES[form["arch"]].whitening
    return form["arch"], form["activation"], form["norm"], form["width"], whitening


def _follow(sources: dict[str, Run]) -> None:
    run = sources.get(st.session_state["pretrained"])
    if run and (config := readings.config_of(run)):
        _set(config)


def _set(config: RunConfig) -> None:
    """Set the form's network to that of a config."""
    form = st.session_state
    keys = "arch", "activation", "norm", "width", "whitening"
    form.update(dict(zip(keys, _layers(config.model), strict=True)))
