"""Controls to rotate a picture and crop it to a square."""

from __future__ import annotations

import streamlit as st

from pages.ui.classify.cards import Picture
from pages.ui.classify.edits import UNCHANGED, Edit, Square, central

NUMBERS = {"left": "Left", "top": "Top", "side": "Side"}  # in pixels


@st.fragment
def editing(picture: Picture) -> None:
    """Controls, which rerun the page only if they change the picture."""
    box = st.expander("Rotate and crop", key=f"edit_{picture.key}", on_change="rerun")
    if not box.open:
        return
    if edited(picture) != picture.edit:
        st.rerun()
    with box:
        controls(picture)


def controls(picture: Picture) -> None:
    (width, height), edit = picture.size, picture.edit
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.button("Rotate by 90°", key=f"rotate_{picture.key}", on_click=rotate, args=(picture,))
        st.session_state[f"crop_{picture.key}"] = edit.square is not None
        st.checkbox(
            "Crop to a square",
            key=f"crop_{picture.key}",
            on_change=switch_crop,
            args=(picture,),
        )
    if edit.square is None:
        return
    limits = {"left": (0, width - 1), "top": (0, height - 1), "side": (1, min(width, height))}
    for column, (name, label) in zip(st.columns(len(NUMBERS)), NUMBERS.items(), strict=True):
        key = number_key(picture, name)
        st.session_state[key] = getattr(edit.square, name)
        column.number_input(label, *limits[name], key=key, step=1, on_change=move, args=(picture,))
    st.caption(f"Pixels of the whole picture, which has {width}×{height}.")


def number_key(picture: Picture, name: str) -> str:
    return f"square_{name}_{picture.key}"


def edited(picture: Picture) -> Edit:
    return st.session_state["classify_edits"].get(picture.key, UNCHANGED)


def keep(picture: Picture, edit: Edit) -> None:
    st.session_state["classify_edits"][picture.key] = edit


def rotate(picture: Picture) -> None:
    width, height = picture.size
    keep(picture, picture.edit.rotated(width, height))


def switch_crop(picture: Picture) -> None:
    wanted = st.session_state[f"crop_{picture.key}"]
    keep(picture, Edit(picture.edit.turns, central(*picture.size) if wanted else None))


def move(picture: Picture) -> None:
    """Take the numbers of a square, moved so that it lies within the picture."""
    numbers = (st.session_state[number_key(picture, name)] for name in NUMBERS)
    keep(picture, Edit(picture.edit.turns, Square(*numbers).within(*picture.size)))
