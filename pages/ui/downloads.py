"""Downloads of tables and charts; each file is made at the click."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pandas as pd
import streamlit as st

from pages.ui import rendering, tables

Chart = tuple[dict[str, Any], pd.DataFrame]  # spec, rows


def downloads(
    key: str, table: dict[str, pd.DataFrame], charts: dict[str, Chart] | None = None
) -> None:
    """Buttons: each table as CSV, each chart, (spec, rows), as SVG and PNG."""
    with st.popover("Download", key=f"downloads_{key}"):
        for name, rows in table.items():
            button(name, "CSV", functools.partial(tables.to_csv, rows), key, name)
        for name, chart in (charts or {}).items():
            for kind, make in (("SVG", rendering.svg), ("PNG", rendering.png)):
                whole = functools.partial(rendered, make, lambda chart=chart: chart, name, "")
                button(name, kind, whole, key, name)


def chart_downloads(
    key: str,
    charts: dict[str, Callable[[], Chart]],
    values: dict[str, Callable[[], pd.DataFrame]],
    about: str,
) -> None:
    """A popover with each chart as PNG and SVG, and its values as CSV.

    charts: by title; values: the same titles. Called at the click, so that the file has all rows of
    that moment. about: a second line of the title, and part of the names of the files.
    """
    with st.popover("Download", icon=":material/download:", key=f"downloads_{key}"):
        for title, chart in charts.items():
            st.markdown(f"**{title}**")
            with st.container(horizontal=True):
                for kind, make in (("PNG", rendering.png), ("SVG", rendering.svg)):
                    whole = functools.partial(rendered, make, chart, title, about)
                    button(f"{about} {title}", kind, whole, key, "")
                rows = functools.partial(csv, values[title])
                button(f"{about} {title}", "CSV", rows, key, "")


def rendered(
    make: Callable[[dict[str, Any]], bytes], chart: Callable[[], Chart], title: str, about: str
) -> bytes:
    spec, rows = chart()
    return make(rendering.standalone(spec, rows, title, about))


def csv(values: Callable[[], pd.DataFrame]) -> bytes:
    return tables.to_csv(values())


def button(name: str, kind: str, make: Callable[[], bytes], key: str, label: str) -> None:
    """label: the name on the button before the kind, or "" for the kind alone."""
    words = "".join(c if c.isalnum() or c in "._" else " " for c in name.lower()).split()
    file = f"{'-'.join(words)}.{kind.lower()}"
    mime = {"CSV": "text/csv", "SVG": "image/svg+xml", "PNG": "image/png"}[kind]
    st.download_button(
        f"{label} ({kind})" if label else kind,
        data=make,
        file_name=file,
        mime=mime,
        on_click="ignore",
        key=f"download_{key}_{file}",
    )
