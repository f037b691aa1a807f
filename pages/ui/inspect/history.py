"""How it came to that: which images were learned when, and which were lost again."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from engine import predict
from engine.inspect.learned import Learned, learned
from engine.inspect.sample import Sample, sample
from engine.runs import history
from pages.ui.downloads import downloads
from pages.ui.inspect import charts, datasets
from pages.ui.inspect.gallery import choose_list, entries, gallery, open_image
from pages.ui.inspect.subject import HELD, TEST, Subject
from pages.ui.text import markdown

LISTS = {
    "earliest": ("Learned first", "right in the end, those that stayed right longest first"),
    "forgotten": (
        "Learned, then forgotten",
        "right, then wrong an epoch later, most often first",
    ),
    "never": ("Never learned", "wrong after every epoch"),
}


def section(subject: Subject) -> None:
    config = subject.network.config
    if not datasets.is_own(subject.choice, subject.data, subject.key[0]):
        own = datasets.title(str(datasets.own_dataset(subject.choice)))
        st.info(
            f"The network was trained on other images than these. Choose {markdown(own)} as it was "
            "then, in any place."
        )
        return
    parts = predict.own_splits(subject.network, subject.data)
    predicted = history.read(subject.choice.run.path, len(parts.val_labels))
    if not len(predicted):
        st.info("The predictions of each epoch were not kept with this network.")
        st.page_link("pages/1_Train.py", label="Train a network that keeps them")
        return
    whole = sample(parts.val_images, parts.val_labels)
    found = learned(predicted, whole.labels.numpy())
    part = HELD if config.data.holdout else TEST
    st.markdown(
        f"After each of {len(predicted)} epochs the network classified the {len(whole):,} images "
        f"that it was validated on ({'held-out training' if part == HELD else 'test'} images). "
        f"**{len(found.never()):,}** were wrong after every epoch, **{len(found.forgotten()):,}** "
        "were learned and forgotten again at least once."
    )
    chart(found, len(predicted))
    images(subject, whole, found, part)


def chart(found: Learned, epochs: int) -> None:
    """Number of images by the epoch in which they were first right, and since when they stay so."""
    kinds = {"first right": found.first, "right ever since": found.since}
    rows = pd.DataFrame(
        [
            {"epoch": epoch, "images": int(np.sum(values == epoch)), "kind": kind}
            for kind, values in kinds.items()
            for epoch in range(1, epochs + 1)
        ]
    )
    spec = charts.epoch_spec()
    st.vega_lite_chart(rows, spec, key="learned_chart", alt="images by the epoch that learned them")
    downloads("history", {"Epochs": rows}, {"Images by epoch": (spec, rows)})


def images(subject: Subject, whole: Sample, found: Learned, part: str) -> None:
    titles = {key: title for key, (title, _) in LISTS.items()}
    name = choose_list("history_list", titles, "forgotten")
    chosen = getattr(found, name)()
    names, labels = subject.classes, whole.labels.tolist()
    texts = [f"{names[labels[i]]}, {describe(found, i)}" for i in chosen]
    heading = f"{len(chosen):,} image{'s' if len(chosen) > 1 else ''}: {LISTS[name][1]}."
    gallery(f"history_{name}", entries(whole, chosen, texts), heading, lambda n: open_in(part, n))


def open_in(part: str, number: int) -> None:
    """Open the detail of an image of this part, whichever is chosen above."""
    st.session_state["part"] = part
    open_image(number)


def describe(found: Learned, index: int) -> str:
    if lost := int(found.lost[index]):
        return "forgotten once" if lost == 1 else f"forgotten {lost} times"
    return f"from epoch {found.since[index]}" if found.since[index] else "never right"
