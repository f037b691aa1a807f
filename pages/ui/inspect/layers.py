"""A diagram of the network's layers, and the activation maps of one of them."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from engine.augment.pipeline import normalize
from engine.inspect.activations import activation_maps
from engine.inspect.activations import layers as layers_of
from engine.models.summary import LayerRow
from pages.ui import pictures
from pages.ui.downloads import downloads
from pages.ui.images import contact_sheet
from pages.ui.inspect import charts
from pages.ui.inspect.subject import Subject
from pages.ui.text import code

DIAGRAM, LAYER = "layer_diagram", "layer"  # keys
MAPS = 64  # channels shown at most
SHEET = 512  # pixels, width of the maps together


def section(subject: Subject, pixels: Any) -> None:
    rows = {row.name: row for row in layers_of(subject.network.model)}
    if st.session_state.get(LAYER) not in rows:
        st.session_state[LAYER] = next(
            name for name, row in rows.items() if len(row.output_shape) == 3
        )
    st.caption("Click a layer in the diagram, or choose it from the list.")
    diagram = charts.layer_spec(len(rows)), charts.layer_rows(list(rows.values()))
    st.vega_lite_chart(
        diagram[1],
        diagram[0],
        key=DIAGRAM,
        on_select=take_click,
        selection_mode=charts.LAYER,
        alt="layers of the network from input to output, with the size of their outputs",
    )
    downloads("layers", {"Layers": diagram[1]}, {"Layers": diagram})
    name = st.selectbox(
        "Layer",
        list(rows),
        key=LAYER,
        format_func=lambda name: describe(rows[name]),
        persist_state="session",
    )
    x = normalize(pixels[None], subject.network.mean, subject.network.std)
    maps = activation_maps(subject.network.model, x, name)
    if maps.ndim == 1:
        vector(subject, maps)
    else:
        draw(name, maps)


def take_click() -> None:
    chosen = st.session_state[DIAGRAM]["selection"].get(charts.LAYER)
    if chosen:
        st.session_state[LAYER] = chosen[0]["layer"]


def describe(row: LayerRow) -> str:
    return f"{row.name} · {row.kind} · {charts.shape_text(row.output_shape)}"


def draw(name: str, maps: Any) -> None:
    """Each channel as a small gray image."""
    shown = pictures.channels(maps, MAPS)
    columns = 16 if len(shown) > 16 else 8
    scale = max(1, SHEET // (columns * shown[0].shape[-1]))
    st.image(contact_sheet(shown, columns, scale), alt=f"activation maps of {name}")
    of = f"The first {MAPS} of {len(maps):,}" if len(maps) > MAPS else f"All {len(maps):,}"
    st.caption(
        f"{of} channels of {code(name)}, each stretched from its smallest value (black) to its "
        "largest (white)."
    )


def vector(subject: Subject, values: Any) -> None:
    """The output of a linear layer: of the last one, the logit of each class."""
    names = subject.classes if len(values) == len(subject.classes) else range(len(values))
    st.bar_chart(
        pd.DataFrame({"output": list(map(str, names)), "value": values.tolist()}),
        x="output",
        y="value",
        sort=False,
    )
