"""Downloads of a section's tables and charts; each file is made at the click."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd
import streamlit as st

from pages.ui import rendering, tables


def downloads(
    key: str,
    table: dict[str, pd.DataFrame],
    charts: dict[str, tuple[dict[str, Any], pd.DataFrame]] | None = None,
) -> None:
    """Buttons: each table as CSV, each chart, (spec, rows), as SVG and PNG."""
    with st.popover("Download", key=f"downloads_{key}"):
        for name, rows in table.items():
            button(name, "CSV", "text/csv", functools.partial(tables.to_csv, rows), key)
        for name, (spec, rows) in (charts or {}).items():
            whole = rendering.standalone(spec, rows, name)
            kinds = (("SVG", "image/svg+xml", rendering.svg), ("PNG", "image/png", rendering.png))
            for kind, mime, make in kinds:
                button(name, kind, mime, functools.partial(make, whole), key)


def button(name: str, kind: str, mime: str, make: Any, key: str) -> None:
    file = f"{name.lower().replace(' ', '-')}.{kind.lower()}"
    st.download_button(
        f"{name} ({kind})",
        data=make,
        file_name=file,
        mime=mime,
        on_click="ignore",
        key=f"download_{key}_{file}",
    )
