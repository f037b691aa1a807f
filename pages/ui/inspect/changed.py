"""What a small change of an image does to the answer."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from engine.inspect import changes
from engine.predict import Predictor
from pages.ui.images import SIZE, enlarge
from pages.ui.inspect.subject import Subject

LARGE = 8  # screen pixels for each pixel
SHOWN = 5  # classes
DEFAULTS = {
    "shift_right": 0,
    "shift_down": 0,
    "blur": 0.0,
    "brightness": 1.0,
    "flip": False,
    "gray": False,
    "square": 0,
    "square_left": 12,
    "square_top": 12,
}


def section(subject: Subject, pixels: Any, predictor: Predictor) -> None:
    left, middle, right = st.columns([2, 1, 2], gap="medium")
    with left:
        image = controls(pixels)
    effect = changes.effects(pixels, [image], lambda x: predictor.logits(x).softmax(1))[0]
    with middle:
        st.image(enlarge(image, LARGE), alt="the changed picture")
        st.caption("The changed picture")
    with right:
        table(subject, effect)


def controls(pixels: Any) -> Any:
    """The image after the changes that are set."""
    for name, value in DEFAULTS.items():
        st.session_state.setdefault(f"change_{name}", value)
    one, two = st.columns(2)
    with one:
        right = st.slider("Shift right (pixels)", -8, 8, key="change_shift_right")
        blurred = st.slider("Blur (σ, pixels)", 0.0, 3.0, step=0.1, key="change_blur")
    with two:
        down = st.slider("Shift down (pixels)", -8, 8, key="change_shift_down")
        light = st.slider("Brightness (factor)", 0.0, 2.0, step=0.05, key="change_brightness")
    with st.container(horizontal=True, vertical_alignment="center"):
        flipped = st.toggle("Flip", key="change_flip")
        grayed = st.toggle("Gray", key="change_gray")
        st.button("Undo all changes", key="change_none", on_click=undo)
    with st.container(horizontal=True):
        side = st.number_input("Gray square, side", 0, SIZE, key="change_square", width=125)
        x = st.number_input("Square, left", 0, SIZE - 1, key="change_square_left", width=125)
        y = st.number_input("Square, top", 0, SIZE - 1, key="change_square_top", width=125)
    image = changes.flip(pixels) if flipped else pixels
    image = changes.shift(image, right, down)
    image = changes.gray(image) if grayed else image
    image = changes.blur(image, blurred) if blurred else image
    image = changes.brightness(image, light)
    return changes.occlude(image, x, y, side)


def undo() -> None:
    st.session_state.update({f"change_{name}": value for name, value in DEFAULTS.items()})


def table(subject: Subject, effect: changes.Effect) -> None:
    """The classes most likely before or after the change."""
    after, before = effect.probabilities, effect.probabilities - effect.change
    order = sorted(
        range(len(subject.classes)), key=lambda i: -max(after[i].item(), before[i].item())
    )[:SHOWN]
    same = int(after.argmax()) == int(before.argmax())
    if not effect.change.abs().max().item():
        st.markdown("Change the picture on the left to see what the network makes of it.")
    else:
        st.markdown("The answer stays the same." if same else "**The answer changes.**")
    st.dataframe(
        pd.DataFrame(
            {
                "Class": [subject.classes[i] for i in order],
                "Before (%)": [100 * before[i].item() for i in order],
                "After (%)": [100 * after[i].item() for i in order],
                "Change (points)": [100 * effect.change[i].item() for i in order],
            }
        ),
        hide_index=True,
        key="change_table",
        column_config={
            "Before (%)": st.column_config.NumberColumn(format="%.1f"),
            "After (%)": st.column_config.NumberColumn(format="%.1f"),
            "Change (points)": st.column_config.NumberColumn(format="%+.1f"),
        },
    )
