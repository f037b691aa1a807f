"""What training does to its images: every step on one image, and on a whole batch."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine import data, predict
from engine.data import ImageData
from engine.errors import DataError
from pages.ui import images, preview, state
from pages.ui.controls import OWN_IMAGES
from pages.ui.preview import Knobs, Walk

LARGE, SMALL = 192, 88  # screen pixels
MAX_UPLOAD_MB = 20
RATIOS = (0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 1.33, 2.0, 3.3, 5.0, 6.7, 10.0)
FIRST_SEED = 6  # with it the first image is moved, mirrored, erased and visibly mixed
START = {
    "aug_picture": 1,
    "aug_seed": FIRST_SEED,
    "aug_mixing": "both",
    "aug_fit": "crop",
}
TRAINING = {
    "aug_padding": Knobs.padding,
    "aug_flip": Knobs.flip_p,
    "aug_erase": Knobs.erase_p,
    "aug_area": Knobs.erase_scale,
    "aug_ratio": Knobs.erase_ratio,
    "alpha": Knobs.mixup_alpha,
    "aug_cutmix_alpha": Knobs.cutmix_alpha,
}
KEEP = {"persist_state": "session"}
RESNET = ("Deep Residual Learning for Image Recognition", "1512.03385")
PAPERS = {
    "crop": RESNET,
    "flip": RESNET,
    "erasing": ("Random Erasing Data Augmentation", "1708.04896"),
    "mixup": ("mixup: Beyond Empirical Risk Minimization", "1710.09412"),
    "cutmix": (
        "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features",
        "1905.04899",
    ),
}
FIT = {"crop": "Cut to a square", "pad": "Show all of it"}


def page() -> None:
    state.start_page("Augmentations")
    st.write(
        "Training never shows the network the same image twice: it is shifted, mirrored, partly "
        "hidden and mixed with another, anew each time. Here the very same steps work on an image "
        "of your choice. A training that is under way does not notice."
    )
    for key, value in (START | TRAINING).items():
        st.session_state.setdefault(key, value)
    chosen = choose_data()
    if chosen is None:
        return
    batch, labels, names = choose_images(chosen)
    knobs = read_knobs()
    seed = st.session_state["aug_seed"]
    mixup, cutmix, whole = (
        preview.walk(knobs.pipeline(chosen, mixing), batch, labels, seed)
        for mixing in ("mixup", "cutmix", st.session_state["aug_mixing"])
    )
    top, bottom = st.columns(3), st.columns(3)
    with top[0]:
        original_card(mixup, names)
    with top[1]:
        crop_card(mixup)
    with top[2]:
        flip_card(mixup)
    with bottom[0]:
        erasing_card(mixup)
    with bottom[1]:
        mixup_card(mixup, names)
    with bottom[2]:
        cutmix_card(cutmix, names)
    whole_batch(whole, names)


# ---------------------------------------------------------------------------- what is looked at


def choose_data() -> ImageData | None:
    """The first row of controls, and the data set; None, with a message, if it is unreadable."""
    titles = data_sets()
    missing = st.session_state.get("dataset") not in titles and "dataset" in st.session_state
    with st.container(horizontal=True, vertical_alignment="bottom"):
        ...
