"""Two networks side by side on the same images."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import streamlit as st

from engine.inspect.attribution import class_activation
from engine.inspect.compare import SIGNIFICANT, compare
from pages.ui import pictures, readings, weights
from pages.ui.downloads import downloads
from pages.ui.images import enlarge
from pages.ui.inspect import computing
from pages.ui.inspect.gallery import choose_list, entries, gallery
from pages.ui.inspect.subject import HELD, Subject, facts, pinned
from pages.ui.text import markdown, plain

KINDS = ("A right, B wrong", "B right, A wrong", "Both wrong, different answers")
LARGE = 8  # screen pixels for each pixel


def section(subject: Subject) -> None:
    second = other(subject)
    if second is None:
        return
    a, b = computing.predictions(subject), computing.predictions(second)
    labels = subject.sample.labels
    result = compare(labels, a.labels, b.labels)
    st.markdown(f"**A**: {markdown(subject.choice.title)} · **B**: {markdown(second.choice.title)}")
    more = len(subject.sample) < subject.sample.total and result.p_value >= SIGNIFICANT
    st.markdown(
        f"{result.sentence()}."
        + (
            f" With all {subject.sample.total:,} images a smaller difference can be detected."
            if more
            else ""
        )
    )
    st.caption(
        "McNemar's exact test compares these two trained networks on these pictures, not their "
        "recipes. To compare recipes, train each with several seeds on the Studies page."
    )
    table = pd.DataFrame(
        {
            "": ["A right", "A wrong"],
            "B right": [result.both_right, result.only_b],
            "B wrong": [result.only_a, result.both_wrong],
        }
    )
    st.dataframe(table, hide_index=True, key="two_by_two", width=420)
    downloads("two", {"Right and wrong": table})
    disagreements(subject, second, a.labels, b.labels)


def other(subject: Subject) -> Subject | None:
    """Draw the choice of a second network with the same classes; None if there is none."""
    options = {
        key: choice
        for key, choice in weights.choices().items()
        if choice.title != subject.choice.title
        and tuple((readings.dataset_info(choice.run) or {}).get("classes", ())) == subject.classes
    }
    name = st.selectbox(
        "Compare with",
        list(options),
        index=None,
        key="second_network",
        format_func=lambda key: options[key].label,
        placeholder="another network with the same classes" if options else "no other network yet",
        disabled=not options,
        bind="query-params",
        persist_state="session",
    )
    if name is None:
        if not options:
            st.page_link("pages/1_Train.py", label="Train another network")
        return None
    choice = pinned(options[name])
    st.caption(facts(choice))
    try:
        second = dataclasses.replace(subject, choice=choice, network=weights.plain_network(choice))
    except (ValueError, OSError) as error:
        st.error(markdown(plain(error)))
        return None
    if subject.part == HELD and split_of(subject) != split_of(second):
        st.warning(
            "These images were held out from the training of A; B may have been trained on them. "
            "For a fair comparison choose the test images above."
        )
    return second


def split_of(subject: Subject) -> tuple[Any, ...]:
    """What decides which images a network has not been trained on; equal for equal ones."""
    config = subject.network.config
    lineage = (readings.dataset_info(subject.choice.run) or {}).get("lineage")
    return config.seed, config.data.holdout, config.data.limit, config.data.stratified, lineage


def disagreements(subject: Subject, second: Subject, a: Any, b: Any) -> None:
    labels, names = subject.sample.labels, subject.classes
    masks = ((a == labels) & (b != labels), (b == labels) & (a != labels))
    masks = (*masks, (a != labels) & (b != labels) & (a != b))
    titles = {i: f"{name} ({int(masks[i].sum()):,})" for i, name in enumerate(KINDS)}
    kind = choose_list("two_list", titles, 0)
    chosen = masks[kind].nonzero().flatten().tolist()
    numbers = [subject.sample.numbers[i] for i in chosen]
    if numbers:
        if st.session_state.get("pair_image") not in numbers:
            st.session_state["pair_image"] = numbers[0]
        index = chosen[numbers.index(st.session_state["pair_image"])]
        pair(subject, second, index, (int(a[index]), int(b[index])))
    texts = [f"A {names[a[i]]}, B {names[b[i]]}" for i in chosen]
    gallery(
        f"two_{kind}",
        entries(subject.sample, chosen, texts),
        "Click a picture to see both heatmaps.",
        on_click=choose_pair,
    )


def choose_pair(number: int) -> None:
    st.session_state["pair_image"] = number


def pair(subject: Subject, second: Subject, index: int, answers: tuple[int, int]) -> None:
    """One picture with the Grad-CAM of each network, for its own answer."""
    sample, names = subject.sample, subject.classes
    image = sample.images[index]
    columns = st.columns(3)
    with columns[0]:
        label = markdown(names[sample.labels[index]])
        st.image(enlarge(image, LARGE), alt=f"image {sample.numbers[index]}")
        st.caption(f"Image {sample.numbers[index]:,}, label **{label}**")
    for column, letter, each, answer in zip(
        columns[1:], "AB", (subject, second), answers, strict=True
    ):
        found = computing.remember(
            f"heatmap_{letter}",
            (str(each.choice.weights), each.choice.changed, subject.key, index),
            lambda each=each, answer=answer: class_activation(each.network, image.numpy(), answer),
            "Computing the heatmap…",
        )
        with column:
            st.image(pictures.overlay(found, image), alt=f"Grad-CAM of network {letter}")
            st.caption(f"{letter} says **{markdown(names[answer])}**: Grad-CAM for this answer")
