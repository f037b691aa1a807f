"""Why an answer: the heatmap of Grad-CAM under a picture, computed when it is opened."""

from __future__ import annotations

import numpy as np
import streamlit as st

from engine.inspect.attribution import class_activation
from engine.predict import Network
from pages.ui import pictures, weights
from pages.ui.classify.cards import Answer, Picture
from pages.ui.classify.networks import Ready
from pages.ui.text import markdown, plain

WIDTH = 224  # pixels of a heatmap, at most


@st.fragment
def why(chosen: list[Ready], picture: Picture, answers: list[Answer], fit: str) -> None:
    """The heatmap of each network; opening it reruns nothing else."""
    box = st.expander("Why?", key=f"why_{picture.key}", on_change="rerun")
    if not box.open:
        return
    with box:
        for column, ready, answer in zip(st.columns(len(chosen)), chosen, answers, strict=True):
            with column:
                heatmap(ready, picture, answer, fit, named=len(chosen) > 1)
        st.caption(
            "Grad-CAM: red is where the last convolutions found evidence for the class. The map is "
            "coarse: it shows roughly where, not which property of the picture, nor whether the "
            "reason is a good one."
        )


def heatmap(ready: Ready, picture: Picture, answer: Answer, fit: str, *, named: bool) -> None:
    """The heatmap for one class of a network, at first the answer. named: say which network."""
    title, classes = ready.choice.title, ready.classes
    target = st.selectbox(
        f"{markdown(title)}: evidence for" if named else "Evidence for this class",
        range(len(classes)),
        index=classes.index(answer.label),
        format_func=lambda i: classes[i] + (" (the answer)" if classes[i] == answer.label else ""),
        key=f"why_class_{picture.key}_{title}_{answer.label}",
        width=320,
    )
    pixels = picture.inputs[fit]
    try:
        network = weights.plain_network(ready.choice)
        found = _heatmap((str(ready.choice.weights), ready.choice.changed), pixels, target, network)
    except (ValueError, OSError) as error:
        st.error(f"{title}: {markdown(plain(error))}")
        return
    if found.any():
        st.image(pictures.overlay(found, pixels), width=WIDTH)
    else:
        st.info("Grad-CAM finds no evidence for this class in this picture.")


# The key covers every pixel: of large arrays, Streamlit hashes only a random sample.
@st.cache_data(
    max_entries=64,
    show_spinner="Computing the heatmap…",
    hash_funcs={np.ndarray: np.ndarray.tobytes},
)
def _heatmap(version: tuple, pixels: np.ndarray, target: int, _network: Network) -> np.ndarray:
    return class_activation(_network, pixels, target)
