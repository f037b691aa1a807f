"""Training images that are the most similar to a picture, by pooled features."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine.inspect.features import nearest
from engine.inspect.sample import Sample, sample
from pages.ui.images import enlarge
from pages.ui.inspect import computing
from pages.ui.inspect.subject import Subject
from pages.ui.text import markdown, plain

COUNT = 8
SEARCHED = 10_000  # training images, drawn at random where there are more
LARGE = 3  # screen pixels for each pixel


def section(subject: Subject, pixels: Any, key: str) -> None:
    whole = len(subject.data.train_labels)
    searched = min(whole, SEARCHED)
    st.caption(
        f"By the cosine similarity of the features that the last layer reads, among {searched:,} "
        f"of {whole:,} training images."
    )
    known = (subject.choice.changed, str(subject.choice.weights), subject.key)
    if not computing.has("training", known) and not st.button(
        "Find them", key="find_neighbors", help="Computes the features of the training images once."
    ):
        return
    images = sample(subject.data.train_images, subject.data.train_labels, SEARCHED)
    try:
        features = computing.once(
            "training",
            known,
            lambda: computing.run(subject.choice, images.images),
            f"Features of {len(images):,} training images…",
        ).features
        own = computing.once(
            "own",
            (*known, key),
            lambda: computing.run(subject.choice, pixels[None]),
            "Features of the picture…",
        ).features
    except (ValueError, OSError) as error:
        st.error(markdown(plain(error)))
        return
    show(subject, images, nearest(own, features, COUNT)[0])


def show(subject: Subject, images: Sample, found: Any) -> None:
    with st.container(horizontal=True):
        for index, similarity in zip(found.indices, found.similarities, strict=True):
            label = subject.classes[int(images.labels[index])]
            with st.container(width=32 * LARGE + 10):
                st.image(enlarge(images.images[index], LARGE), alt=f"a training image: {label}")
                st.caption(f"{markdown(label)} · {similarity:.2f}")
