"""Charts of an inspection: rows, and specs for Vega-Lite. Pure: no `st.` call."""

from __future__ import annotations

import functools
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from engine.inspect.calibration import Bin
from engine.models.summary import LayerRow
from pages.ui.charts import legend, spec_of

CELL, LAYER, POINT = "cell", "layer", "point"  # names of selections
NUMBERED = 20  # up to this many classes, cells have room for their numbers
COLORED = 20  # up to this many classes, each has a color of its own
SIDE = 30  # pixels of a cell, at most
FRAME = 160  # pixels of a heatmap's legend, axis and title
MAX_HEIGHT = 800  # pixels
BLUES = ["#f7fbff", "#6baed6", "#08306b"]
WHITE_FROM = 0.3  # share of the row from which the number is white, on a dark cell


def confusion_rows(matrix: np.ndarray, classes: tuple[str, ...]) -> pd.DataFrame:
    """A row for each cell: label, predicted, images, and share of the label's images."""
    count = len(classes)
    share = matrix / np.maximum(1, matrix.sum(1, keepdims=True))
    return pd.DataFrame(
        {
            "label": np.repeat(classes, count),
            "predicted": np.tile(classes, count),
            "images": matrix.ravel(),
            "share": share.ravel(),
        }
    )


@functools.lru_cache(maxsize=8)
def confusion_spec(classes: tuple[str, ...]) -> dict[str, Any]:
    """Heatmap for confusion_rows, whose cells can be selected."""
    example = {"label": [""], "predicted": [""], "images": [0], "share": [0.0]}
    order = list(classes)
    base = alt.Chart(pd.DataFrame(example)).encode(
        x=alt.X(
            "predicted:N",
            title="Predicted",
            sort=order,
            scale=alt.Scale(domain=order),
            axis=alt.Axis(labelAngle=-45, labelLimit=90, labelOverlap=False),
        ),
        y=alt.Y(
            "label:N",
            title="True class",
            sort=order,
            scale=alt.Scale(domain=order),
            axis=alt.Axis(labelLimit=90, labelOverlap=False),
        ),
    )
    # On the cells only: a number with a tooltip of its own would take the click from its cell.
    tooltip = [
        alt.Tooltip("label:N", title="True class"),
        alt.Tooltip("predicted:N", title="Predicted"),
        alt.Tooltip("images:Q", title="Images", format=","),
        alt.Tooltip("share:Q", title="Share of the class", format=".1%"),
    ]
    selection = alt.selection_point(name=CELL, fields=["label", "predicted"], toggle=False)
    color = alt.Color(
        "share:Q",
        title="Share of the class",
        # A square root keeps rare confusions visible beside the diagonal.
        scale=alt.Scale(range=BLUES, domain=[0, 1], type="sqrt"),
        legend=alt.Legend(orient="top", format=".0%", gradientLength=160, values=[0, 0.25, 1]),
    )
    cells = base.mark_rect(cursor="pointer", stroke="#8886").encode(color=color, tooltip=tooltip)
    cells = cells.add_params(selection)
    height = min(MAX_HEIGHT, FRAME + SIDE * len(classes))
    if len(classes) > NUMBERED:
        return spec_of(cells, height)
    number = base.mark_text(fontSize=12).encode(
        text=alt.Text("images:Q", format=",d"),
        color=alt.when(f"datum.share > {WHITE_FROM}")
        .then(alt.value("white"))
        .otherwise(alt.value("black")),
        opacity=alt.when("datum.images > 0").then(alt.value(1)).otherwise(alt.value(0.25)),
    )
    return spec_of(alt.layer(cells, number), height)


def reliability_rows(bins: list[Bin]) -> pd.DataFrame:
    """A row for each bin that has images."""
    rows = [each._asdict() for each in bins if each.images]
    return pd.DataFrame(rows, columns=Bin._fields)


@functools.lru_cache(maxsize=1)
def reliability_spec() -> dict[str, Any]:
    """Reliability diagram for reliability_rows: accuracy by confidence, and the diagonal."""
    example = pd.DataFrame([dict.fromkeys(Bin._fields, 0.5)])
    percent = alt.Axis(format=".0%")
    domain = alt.Scale(domain=[0, 1])
    bars = (
        alt.Chart(example)
        .mark_bar(stroke="#8888")
        .encode(
            x=alt.X("low:Q", title="Confidence", scale=domain, axis=percent),
            x2="high:Q",
            y=alt.Y("accuracy:Q", title="Accuracy", scale=domain, axis=percent),
            y2=alt.datum(0),
            opacity=alt.Opacity(
                "images:Q",
                title="Images",
                scale=alt.Scale(type="log", range=[0.25, 1]),
                legend=alt.Legend(orient="top", tickCount=3, format="~s"),
            ),
            tooltip=[
                alt.Tooltip("confidence:Q", title="Mean confidence", format=".1%"),
                alt.Tooltip("accuracy:Q", title="Accuracy", format=".1%"),
                alt.Tooltip("images:Q", title="Images", format=",d"),
            ],
        )
    )
    diagonal = (
        alt.Chart(example)
        .mark_rule(strokeDash=[4, 4], color="#888")
        .encode(x=alt.datum(0), x2=alt.datum(1), y=alt.datum(0), y2=alt.datum(1))
    )
    return spec_of(alt.layer(bars, diagonal), 320)


def map_rows(points: np.ndarray, about: pd.DataFrame) -> pd.DataFrame:
    """A row for each point [N, 2] of a map, with the columns of `about`."""
    return about.assign(x=points[:, 0], y=points[:, 1])


@functools.lru_cache(maxsize=8)
def map_spec(color: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Scatter plot for map_rows, colored by one of its columns; `image` is shown as a tooltip."""
    columns = {"number": [0], "label": [""], "predicted": [""], "result": [""], "image": [""]}
    example = pd.DataFrame({"x": [0.0], "y": [0.0], **columns})
    many = len(names) > COLORED
    chart = (
        alt.Chart(example)
        .mark_circle(size=45, cursor="pointer", opacity=0.8)
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", axis=None, scale=alt.Scale(zero=False)),
            color=alt.Color(
                f"{color}:N",
                scale=alt.Scale(domain=list(names), **({} if many else {"scheme": "category10"})),
                legend=None if many else legend(columns=5),
            ),
            tooltip=[
                alt.Tooltip("image:N"),
                alt.Tooltip("number:Q", title="Image", format=",d"),
                alt.Tooltip("label:N", title="Label"),
                alt.Tooltip("predicted:N", title="Predicted"),
            ],
        )
        .add_params(alt.selection_point(name=POINT, fields=["number"], toggle=False))
    )
    return spec_of(chart, 520)


@functools.lru_cache(maxsize=1)
def epoch_spec() -> dict[str, Any]:
    """Bars of the number of images by epoch, for a table of `epoch`, `images` and `kind`."""
    example = pd.DataFrame({"epoch": [1], "images": [1], "kind": [""]})
    chart = (
        alt.Chart(example)
        .mark_bar()
        .encode(
            x=alt.X("epoch:O", title="Epoch", axis=alt.Axis(labelAngle=0, labelOverlap=True)),
            xOffset="kind:N",
            y=alt.Y("images:Q", title="Images"),
            color=alt.Color("kind:N", legend=legend()),
            tooltip=[
                alt.Tooltip("epoch:O", title="Epoch"),
                alt.Tooltip("kind:N", title="Images"),
                alt.Tooltip("images:Q", title="Number", format=",d"),
            ],
        )
    )
    return spec_of(chart, 260)


def shape_text(shape: tuple[int, ...]) -> str:
    """ "64 × 16 × 16" for 64 channels of 16×16 positions."""
    return " × ".join(f"{size:,}" for size in shape)


def layer_rows(layers: list[LayerRow]) -> pd.DataFrame:
    """A row for each layer: position, name, kind, output shape, channels, and size of its map."""
    return pd.DataFrame(
        [
            {
                "position": number,
                "layer": row.name,
                "kind": row.kind,
                "output": shape_text(row.output_shape),
                "channels": row.output_shape[0],
                "side": row.output_shape[-1] if len(row.output_shape) == 3 else 1,
                "parameters": row.parameters,
            }
            for number, row in enumerate(layers, start=1)
        ]
    )


@functools.lru_cache(maxsize=8)
def layer_spec(count: int) -> dict[str, Any]:
    """Diagram for layer_rows: a bar for each layer, whose height is the side of its output."""
    example = {
        "position": [1],
        "layer": [""],
        "kind": [""],
        "output": [""],
        "channels": [1],
        "side": [1],
        "parameters": [0],
    }
    selection = alt.selection_point(name=LAYER, fields=["layer"], toggle=False)
    chart = (
        alt.Chart(pd.DataFrame(example))
        .mark_bar(cursor="pointer", stroke="#8888", strokeWidth=0.5)
        .encode(
            x=alt.X(
                "position:O",
                title="Layers, from input to output",
                axis=alt.Axis(labels=count <= 40, ticks=False, labelAngle=0),
                scale=alt.Scale(paddingInner=0.1),
            ),
            y=alt.Y(
                "side:Q", title="Side of the output (pixels)", axis=alt.Axis(values=[4, 8, 16, 32])
            ),
            color=alt.Color(
                "channels:Q",
                title="Channels",
                scale=alt.Scale(type="log", base=2, range=["#c6dbef", "#08306b"]),
                legend=alt.Legend(orient="top", gradientLength=160, tickCount=4),
            ),
            opacity=alt.condition(selection, alt.value(1.0), alt.value(0.35)),
            tooltip=[
                alt.Tooltip("layer:N", title="Layer"),
                alt.Tooltip("kind:N", title="Kind"),
                alt.Tooltip("output:N", title="Output"),
                alt.Tooltip("parameters:Q", title="Parameters", format=","),
            ],
        )
        .add_params(selection)
    )
    return spec_of(chart, 220)
