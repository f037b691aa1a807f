"""Controls of the page: data set, image, seed, and upload."""

from __future__ import annotations

import numpy as np
import streamlit as st

from engine import data, predict
from engine.config import SETTINGS
from engine.data import ImageData, formats
from engine.errors import DataError, DataPending
from engine.inputs import FITS
from pages.ui import folders, importing, readings
from pages.ui.augmentations.preview import Knobs
from pages.ui.choices import OWN_IMAGES
from pages.ui.text import plain

MAX_UPLOAD_MB = 20
MAX_SEED = 2**31 - 1
# Widget keys and their initial values. With this seed, every step changes the image.
VIEW = {"aug_image": 1, "aug_seed": 607, "aug_fit": "crop", "aug_mixing": "mixup"}
TRAINING = {
    "aug_padding": Knobs.padding,
    "aug_flip": Knobs.flip_p,
    "aug_erase": Knobs.erase_p,
    "aug_area": Knobs.erase_scale,
    "aug_ratio": Knobs.erase_ratio,
    "alpha": Knobs.mixup_alpha,
    "aug_cutmix_alpha": Knobs.cutmix_alpha,
}


def choose() -> ImageData | None:
    """Draw the first row of controls. Returns the data set; None, with a message, on an error."""
    titles, missing = data_sets()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.selectbox(
            "Data set",
            list(titles),
            key="dataset",
            format_func=titles.get,
            width=230,
            persist_state="session",
        )
        shown = source("shapes" if name == missing else name)
        fit = st.session_state.get(SETTINGS["data.fit"].key, "crop")  # of the Train page
        try:
            chosen = readings.images(shown, fit)
        except DataPending:
            importing.await_import(shown, fit, "The steps appear here")
            return None
        except DataError as error:
            st.error(f"These images cannot be read: {plain(error)}")
            return None
        count = len(chosen.train_labels)
        if st.session_state["aug_image"] > count:
            st.session_state["aug_image"] = 1
        st.number_input(
            "Image",
            1,
            count,
            step=1,
            key="aug_image",
            width=140,
            help="Number of the training image; without effect while your own image is shown.",
            persist_state="session",
        )
        st.number_input(
            "Seed",
            0,
            MAX_SEED,
            step=1,
            key="aug_seed",
            width=140,
            help="Determines all random draws on this page, so that they stay the same while you "
            "move a slider.",
            persist_state="session",
        )
        st.button("New seed", key="new_seed", type="primary", on_click=new_seed)
        st.button(
            "Training defaults",
            key="aug_reset",
            on_click=st.session_state.update,
            args=(TRAINING,),
            help="Set every slider to the value that training uses by default.",
        )
    if missing and name == missing:
        st.info(f"{titles[name]}. The built-in shapes are shown instead.")
    if len(titles) - bool(missing) < len(data.DATASETS):
        st.page_link("app.py", label="Download more data sets on Home")
    return chosen


def data_sets() -> tuple[dict[str, str], str | None]:
    """Titles of the data sets by name; name of the one chosen on Train if it is unavailable."""
    form = st.session_state
    titles = {
        name: spec.title
        for name, spec in data.DATASETS.items()
        if data.is_available(name, folders.DATA_ROOT)
    }
    if data.is_available(source(OWN_IMAGES), folders.DATA_ROOT):
        titles[OWN_IMAGES] = "My own images"
    chosen = form.get("dataset", next(iter(titles)))
    form["dataset"] = chosen  # otherwise the widget ignores a choice made on another page
    if chosen in titles:
        return titles, None
    # Chosen on the Train page: show it here too instead of changing it there.
    known = data.DATASETS.get(chosen)
    return titles | {chosen: f"{known.title if known else 'My own images'} (not available)"}, chosen


def source(name: str) -> str:
    """The data set to load for a choice: its name, or the path given on the Train page."""
    return st.session_state.get("dataset_path", "").strip() if name == OWN_IMAGES else name


def new_seed() -> None:
    st.session_state["aug_seed"] = (st.session_state["aug_seed"] + 1) % (MAX_SEED + 1)


def own_image() -> np.ndarray | None:
    """An uploaded image, uint8 [3, 32, 32]; None without one, or, with a message, for a bad one."""
    # No `type` argument, as on Classify: the decoder decides what is accepted.
    upload = st.file_uploader(
        f"Or upload an image ({formats.TITLE})",
        key="upload",
        max_upload_size=MAX_UPLOAD_MB,
    )
    if upload is None:
        return None
    try:
        image, dark_bits = decoded(upload.file_id, st.session_state["aug_fit"], upload.getvalue())
    except DataError as error:
        st.error(f"This image cannot be used: {plain(error)}")
        return None
    st.segmented_control(
        "Fit to 32 × 32",
        list(FITS),
        key="aug_fit",
        format_func=FITS.get,
        required=True,
        persist_state="session",
    )
    if dark_bits:
        st.caption(f"A dark image: its values use {dark_bits} of 16 bits.")
    return image


@st.cache_data(max_entries=16, show_spinner=False)
def decoded(file_id: str, fit: str, _content: bytes) -> tuple[np.ndarray, int | None]:
    """uint8 [3, 32, 32] of an upload, and its dark_bits: see open_rgb. Raises DataError."""
    image = predict.decode_image(_content)
    return predict.to_input(image, fit).numpy(), image.info["dark_bits"]
