"""Charts outside the page, as SVG and PNG. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd
import vl_convert

PNG_SCALE = 2.0  # pixels per unit of the chart


def standalone(spec: dict[str, Any], rows: pd.DataFrame, title: str) -> dict[str, Any]:
    """A spec with its data, for rendering outside the page, on a white background."""
    values = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return {
        **spec,
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "data": {"values": values},
        "title": {"text": title, "anchor": "start"},
        "width": 760,
        "background": "white",
    }


def svg(chart: dict[str, Any]) -> bytes:
    """A chart from `standalone` as SVG."""
    return vl_convert.vegalite_to_svg(chart).encode()


def png(chart: dict[str, Any]) -> bytes:
    """A chart from `standalone` as PNG."""
    return vl_convert.vegalite_to_png(chart, scale=PNG_SCALE)
