"""Where it errs: accuracy with its interval, the confusion matrix, and the images of a cell."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine.inspect.confusion import Confusion, cell, confusion
from engine.inspect.predictions import Predictions
from pages.ui.downloads import downloads
from pages.ui.inspect import charts, computing
from pages.ui.inspect.gallery import entries, gallery
from pages.ui.inspect.subject import HELD, Subject
from pages.ui.text import markdown, percent

CHART = "confusion"  # key of the heatmap
LABEL, PREDICTED = "cell_label", "cell_predicted"  # keys of the lists that choose a cell


def section(subject: Subject) -> None:
    found = computing.predictions(subject)
    result = confusion(subject.sample.labels, found.labels, subject.classes)
    accuracy(subject, found, result)
    default_cell(result)
    left, right = st.columns([3, 2], gap="large")
    rows = charts.confusion_rows(result.matrix, subject.classes)
    spec = charts.confusion_spec(subject.classes)
    with left:
        st.caption("Click a cell to see its images below, or choose it from the lists.")
        st.vega_lite_chart(
            rows,
            spec,
            key=CHART,
            on_select=take_click,
            selection_mode=charts.CELL,
            alt="confusion matrix: number of images of each class by predicted class",
        )
    per_class = class_table(result)
    with right:
        st.dataframe(
            per_class,
            hide_index=True,
            placeholder="–",
            key="class_table",
            column_config={
                name: st.column_config.NumberColumn(format="%.1f %%")
                for name in ("Precision (%)", "Recall (%)")
            },
        )
        downloads(
            "errors",
            {"Classes": per_class, "Confusion": rows},
            {"Confusion matrix": (spec, rows)},
        )
    images_of_cell(subject, found, result)


def accuracy(subject: Subject, found: Predictions, result: Confusion) -> None:
    low, high = result.accuracy.low, result.accuracy.high
    where = "held-out" if subject.part == HELD else "test"
    st.metric(f"Accuracy on {len(subject.sample):,} {where} images", percent(result.accuracy.value))
    like = ", as in the run's own validation" if found.as_validated else ""
    st.caption(
        f"95 % interval {percent(low)} to {percent(high)} (Wilson) · computed in "
        f"{found.precision}{like} · weights {found.weights[:12]}"
    )


def class_table(result: Confusion) -> pd.DataFrame:
    rows = [(row.name, row.images, 100 * row.precision, 100 * row.recall) for row in result.classes]
    return pd.DataFrame(rows, columns=["Class", "Images", "Precision (%)", "Recall (%)"])


def default_cell(result: Confusion) -> None:
    """Begin with the most frequent confusion."""
    count, form = len(result.classes), st.session_state
    if not all(form.get(key, count) < count for key in (LABEL, PREDICTED)):
        wrong = result.matrix.copy()
        for index in range(count):
            wrong[index, index] = 0
        form[LABEL], form[PREDICTED] = divmod(int(wrong.argmax()), count)
    form["cell_classes"] = tuple(row.name for row in result.classes)


def take_click() -> None:
    """Put a clicked cell into the lists."""
    form = st.session_state
    chosen = form[CHART]["selection"].get(charts.CELL)
    if chosen:
        names = form["cell_classes"]
        form[LABEL] = names.index(chosen[0]["label"])
        form[PREDICTED] = names.index(chosen[0]["predicted"])


def images_of_cell(subject: Subject, found: Predictions, result: Confusion) -> None:
    options, names = range(len(subject.classes)), subject.classes
    with st.container(horizontal=True, vertical_alignment="bottom"):
        choice = {"options": options, "format_func": names.__getitem__, "width": 220}
        label = st.selectbox("True class", key=LABEL, persist_state="session", **choice)
        called = st.selectbox("Predicted", key=PREDICTED, persist_state="session", **choice)
    probabilities = found.probabilities()
    chosen = cell(subject.sample.labels, probabilities, label, called)
    what = f"**{markdown(names[label])}** called **{markdown(names[called])}**"
    if not chosen:
        st.info(f"No image of {what}.")
        return
    labels = [f"{100 * probabilities[i, called].item():.0f} %" for i in chosen]
    plural = "s" if len(chosen) > 1 else ""
    gallery(
        f"cell_{label}_{called}",
        entries(subject.sample, chosen, labels),
        f"{len(chosen):,} image{plural} of {what}, most confident first. Click one for its detail.",
    )
