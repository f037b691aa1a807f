"""Each step of the augmentation pipeline, on one image and on a whole batch."""

from __future__ import annotations

import streamlit as st

from engine.config import with_fields
from engine.presets import PRESETS
from pages.ui import choices, folders, frame
from pages.ui.augmentations import preview, steps
from pages.ui.augmentations.controls import TRAINING, VIEW, choose, own_image
from pages.ui.augmentations.preview import Knobs


def page() -> None:
    frame.start_page("Augmentations")
    st.write(
        "During training, the network rarely sees exactly the same image twice: each time, the "
        "image is randomly shifted, mirrored, partly erased or mixed with another. This page "
        "applies the same steps to an image of your choice, without affecting a run in training."
    )
    form = st.session_state
    for key, value in (VIEW | TRAINING).items():
        form.setdefault(key, value)
    chosen = choose()
    if chosen is None:
        return
    grid = st.grid(3, min_column_width=290, border=True)
    with grid.cell():
        st.subheader("1 · Original", anchor=False)
        picture = st.container()  # filled once the upload below it has been read
        own = own_image()
    names = [*chosen.classes, "your image"]
    batch, labels = preview.choose_batch(chosen, form["aug_image"] - 1, own)
    knobs = Knobs(*(form[key] for key in TRAINING))
    blended, pasted, whole = (
        preview.trace(knobs.pipeline(chosen, mixing), batch, labels, form["aug_seed"])
        for mixing in ("mixup", "cutmix", form["aug_mixing"])
    )
    with picture:
        steps.original(blended, names, len(chosen.train_labels))
    for card in (steps.crop, steps.flip, steps.erasing):
        with grid.cell():
            card(blended)
    with grid.cell():
        steps.mixup(blended, names)
    with grid.cell():
        steps.cutmix(pasted, names)
    steps.whole_batch(whole, names)
    if st.button("Train with these", key="train_with_these", type="primary"):
        train_with(knobs)


def train_with(knobs: Knobs) -> None:
    """Open Train with these steps on, as set here; its other settings stay."""
    root = str(folders.DATA_ROOT)
    start = choices.valid(root) if "arch" in st.session_state else None
    start = start or PRESETS["minute"].config()  # also if the form has an error
    changes = knobs.settings(st.session_state["aug_mixing"]) | {"augment.alternating_flip": False}
    link = choices.encode(with_fields(start, changes))
    st.switch_page("pages/1_Train.py", query_params={"choices": link})


page()
