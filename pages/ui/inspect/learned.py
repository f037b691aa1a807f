"""What it learned: the first filters, and a map of the images by their features."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pandas as pd
import streamlit as st

from engine.inspect import features
from engine.inspect.activations import first_filters
from engine.inspect.predictions import Predictions
from engine.inspect.sample import Sample, sample
from pages.ui import pictures
from pages.ui.downloads import downloads
from pages.ui.images import contact_sheet
from pages.ui.inspect import charts, computing
from pages.ui.inspect.gallery import open_image
from pages.ui.inspect.subject import Subject
from pages.ui.text import code

MAP = "feature_map"  # key of the chart
POINTS = 1_000  # images of the map at most; each brings its picture to the browser
SHEET = 640  # pixels, width of the filters together
METHODS = {"pca": "PCA", "tsne": "t-SNE"}
COLORS = {"label": "True class", "predicted": "Predicted class", "result": "Right or wrong"}


def section(subject: Subject) -> None:
    filters(subject)
    feature_map(subject, computing.predictions(subject))


def filters(subject: Subject) -> None:
    found = first_filters(subject.network.model)
    count, _, height, width = found.images.shape
    st.subheader("Filters of the first layer", divider="gray")
    columns = 16
    scale = max(4, SHEET // (min(columns, count) * width))
    sheet = contact_sheet(found.images, columns, scale, gap=4)
    st.image(sheet, alt=f"{count} filters of the first layer")
    kind = (
        "A whitening layer: computed from training images before training, and not trained."
        if found.is_whitening
        else "A convolution, as trained."
    )
    st.caption(
        f"{count} filters of {height}×{width} pixels of {code(found.layer)}. {kind} Gray is 0; "
        "each filter has its own color scale."
    )


def feature_map(subject: Subject, found: Predictions) -> None:
    """Draw at most POINTS images, a random sample of the chosen ones."""
    st.subheader("Map of the images", divider="gray")
    with st.container(horizontal=True):
        method = st.segmented_control(
            "Method",
            list(METHODS),
            default="pca",
            required=True,
            key="map_method",
            format_func=METHODS.get,
            persist_state="session",
        )
        color = st.segmented_control(
            "Color",
            list(COLORS),
            default="label",
            required=True,
            key="map_color",
            format_func=COLORS.get,
            persist_state="session",
        )
    drawn = sample(subject.sample.images, subject.sample.labels, POINTS)
    values = found.features[list(drawn.numbers)]
    points, text = pca(values) if method == "pca" else tsne(subject, values)
    names = ("right", "wrong") if color == "result" else subject.classes
    rows = charts.map_rows(points, about(subject, found, drawn))
    spec = charts.map_spec(color, names)
    st.vega_lite_chart(
        rows,
        spec,
        key=MAP,
        on_select=take_click,
        selection_mode=charts.POINT,
        alt="map of the images by their features",
    )
    st.caption(
        f"{len(rows):,} images. {text} Close points have similar features, the input of the last "
        "layer. Hover for the picture, click for its detail."
    )
    downloads("map", {"Map": rows.drop(columns="image")}, {"Map of the images": (spec, rows)})


def pca(values: Any) -> tuple[Any, str]:
    projection = features.pca(values)
    return projection.points, (
        f"The two directions of largest variance, {100 * projection.share:.0f} % of the whole."
    )


def tsne(subject: Subject, values: Any) -> tuple[Any, str]:
    """Computed in stages, with progress."""

    def steps() -> Generator[float, None, Any]:
        points = None
        for share, points in features.tsne(values):  # noqa: B007 the last ones are the result
            yield share
        return points

    key = (str(subject.choice.weights), subject.choice.changed, subject.key)
    points = computing.once("tsne", key, steps, "t-SNE of the features…")
    return points, "t-SNE keeps neighbors together; distances between groups mean little."


def about(subject: Subject, found: Predictions, drawn: Sample) -> pd.DataFrame:
    """Number, label, prediction and picture of each point."""
    names, labels = subject.classes, drawn.labels.tolist()
    predicted = [int(found.labels[i]) for i in drawn.numbers]
    pairs = list(zip(labels, predicted, strict=True))
    return pd.DataFrame(
        {
            "number": [subject.sample.numbers[i] for i in drawn.numbers],
            "label": [names[label] for label in labels],
            "predicted": [names[label] for label in predicted],
            "result": ["right" if label == answer else "wrong" for label, answer in pairs],
            "image": [pictures.small_address(image) for image in drawn.images],
        }
    )


def take_click() -> None:
    chosen = st.session_state[MAP]["selection"].get(charts.POINT)
    if chosen:
        open_image(int(chosen[0]["number"]))
