"""Why this answer: one image, the answer to it, and what speaks for each class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import pandas as pd
import streamlit as st

from engine.data import formats
from engine.device import resolve
from engine.errors import DataError
from engine.inspect.attribution import explain
from engine.predict import MAX_BYTES, Predictor, decode_image, to_input
from pages.ui import frame, pictures
from pages.ui.images import enlarge
from pages.ui.inspect import changed, computing, layers, neighbors
from pages.ui.inspect.gallery import WHY
from pages.ui.inspect.subject import Subject
from pages.ui.text import markdown, percent, plain

FROM_DATA, UPLOAD, CAMERA = "images", "upload", "camera"
SOURCES = {FROM_DATA: "Image of the data set", UPLOAD: "Upload", CAMERA: "Camera"}
LARGE = 8  # screen pixels for each pixel of a picture
SHOWN = 5  # classes


@dataclass(frozen=True)
class Picture:
    """What the network sees of a picture."""

    pixels: Any  # uint8 [3, 32, 32]
    title: str
    label: int | None = None  # of an image of the data set

    @property
    def key(self) -> str:
        return hashlib.sha256(self.pixels.contiguous().numpy()).hexdigest()


def section(subject: Subject) -> None:
    if st.session_state.pop("opened", False):
        frame.scroll_up()
    back = st.session_state.get("came_from")
    if back and back != WHY:
        st.button(
            "Back to the pictures", key="back", icon=":material/arrow_back:", on_click=go_back
        )
    picture = choose_picture(subject)
    if picture is None:
        return
    predictor = Predictor(subject.network, resolve("cpu", "fp32"))
    probabilities = predictor.probabilities(picture.pixels[None])[0]
    answer(subject, picture, probabilities)
    st.subheader("Evidence for a class", divider="gray")
    heatmaps(subject, picture, int(probabilities.argmax()))
    st.subheader("Try a small change", divider="gray")
    changed.section(subject, picture.pixels, predictor)
    st.subheader("Activation maps", divider="gray")
    layers.section(subject, picture.pixels)
    st.subheader("The most similar training images", divider="gray")
    neighbors.section(subject, picture.pixels, picture.key)


def go_back() -> None:
    if section := st.session_state.pop("came_from", None):  # None: a double click
        st.session_state["section"] = section


def choose_picture(subject: Subject) -> Picture | None:
    """Draw the choice of a picture; None until there is one."""
    st.session_state.setdefault("picture_from", FROM_DATA)
    source = st.segmented_control(
        "Picture",
        list(SOURCES),
        required=True,
        key="picture_from",
        format_func=SOURCES.get,
        persist_state="session",
    )
    if source == FROM_DATA:
        return image_of_data(subject)
    if source == UPLOAD:
        # No `type` argument: Streamlit would stop the page at a file with another extension.
        file = st.file_uploader(
            f"{formats.TITLE} picture", key="why_upload", max_upload_size=MAX_BYTES // 2**20
        )
    else:
        file = st.camera_input("Camera", key="why_camera", label_visibility="collapsed")
    if file is None:
        return None
    try:
        pixels = to_input(decode_image(file.getvalue()), subject.network.config.data.fit)
    except DataError as error:
        st.error(f"The picture cannot be used: {markdown(plain(error))}.")
        return None
    return Picture(pixels, SOURCES[source])


def image_of_data(subject: Subject) -> Picture:
    whole = subject.split()
    last = len(whole) - 1
    if st.session_state.get("image", 0) > last:
        st.session_state["image"] = 0
    number = st.number_input(
        f"Number of the image, 0 to {last:,}",
        0,
        last,
        key="image",
        width=260,
        bind="query-params",
        persist_state="session",
    )
    return Picture(whole.images[number], f"Image {number:,}", int(whole.labels[number]))


def answer(subject: Subject, picture: Picture, probabilities: Any) -> None:
    """The picture as the network sees it beside its most likely classes."""
    best = int(probabilities.argmax())
    left, right = st.columns([1, 2], gap="medium")
    with left:
        st.image(enlarge(picture.pixels, LARGE), alt=picture.title)
        st.caption(
            f"{picture.title}, as the network sees it: 32×32 pixels. Computed in fp32, which "
            "the heatmaps need; probabilities in other sections may differ in the last digits."
        )
    with right:
        st.metric("Answer", f"{subject.classes[best]} · {percent(float(probabilities[best]))}")
        if picture.label is not None:
            given = markdown(subject.classes[picture.label])
            verdict = "right" if picture.label == best else "wrong"
            st.markdown(f"Correct label: **{given}**. The answer is {verdict}.")
        order = (-probabilities).argsort(kind="stable")[:SHOWN]
        st.dataframe(
            pd.DataFrame(
                {
                    "Class": [subject.classes[i] for i in order],
                    "Probability": [100 * float(probabilities[i]) for i in order],
                }
            ),
            hide_index=True,
            key="why_classes",
            column_config={
                "Probability": st.column_config.ProgressColumn(
                    format="%.2f %%", min_value=0.0, max_value=100.0
                )
            },
        )


def heatmaps(subject: Subject, picture: Picture, best: int) -> None:
    """Three attributions for the class chosen, by default the predicted one."""
    shown = (picture.key, str(subject.choice.weights))
    # Another picture or network; or a widget that was not drawn and lost its state.
    if st.session_state.get("explained") != shown or "explained_class" not in st.session_state:
        st.session_state["explained"] = shown
        st.session_state["explained_class"] = best
    target = st.selectbox(
        "Class to explain",
        range(len(subject.classes)),
        key="explained_class",
        format_func=lambda index: (
            subject.classes[index] + (" (the answer)" if index == best else "")
        ),
        width=320,
    )
    found = computing.remember(
        "explanation",
        (*shown, subject.choice.changed, target),
        lambda: explain(subject.network, picture.pixels, target),
        "Computing the heatmaps…",
    )
    exact = found.integrated
    maps = (
        (
            pictures.overlay(found.cam, picture.pixels),
            "**Grad-CAM**: where the last convolutions found evidence for the class (red). "
            "The map is coarse: it has few positions and is enlarged.",
        ),
        (
            pictures.signed(exact.map),
            f"**Integrated gradients**: each pixel's share of the score, for (red) and against "
            f"(blue). The shares sum to {exact.difference + exact.error:+.2f}. In theory "
            f"they sum to {exact.difference:+.2f}, the score minus that of a picture of the mean "
            "color.",
        ),
        (
            pictures.signed(found.occluded),
            "**Occlusion**: how much the score falls (red) or rises (blue) when a square of 8×8 "
            "pixels is covered.",
        ),
    )
    for column, (image, text) in zip(st.columns(len(maps)), maps, strict=True):
        with column:
            st.image(image, alt=text.split("**")[1])
            st.caption(text)
    st.caption(
        "The score is the logit of the class, before softmax. A heatmap shows what the network "
        "used, not whether that was sensible; the three methods may disagree."
    )
