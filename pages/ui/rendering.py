"""Charts outside the page, as SVG and PNG for a report. Pure."""

from __future__ import annotations

from typing import Any

import pandas as pd
import vl_convert

from pages.ui import axes
from pages.ui.charts import PALETTE

PNG_SCALE = 2.0  # pixels per unit of the chart
INK, QUIET = "#172033", "#475569"
AXIS = {"labelFontSize": 12, "titleFontSize": 13, "labelColor": INK, "titleColor": INK}
LOOK = {
    **axes.CONFIG,
    "font": "Helvetica, Arial, sans-serif",
    "range": {"category": list(PALETTE)},
    "axis": {**AXIS, "titleFontWeight": "normal", "gridColor": "#e5e9f0", "domainColor": QUIET},
    "legend": {"labelFontSize": 13, "labelColor": INK},
    "title": {"fontSize": 17, "color": INK, "subtitleFontSize": 13, "subtitleColor": QUIET},
    "view": {"stroke": None},
}


def standalone(
    spec: dict[str, Any], rows: pd.DataFrame, title: str, subtitle: str | list[str] = ""
) -> dict[str, Any]:
    """A spec with its data, for rendering outside the page, on a white background.

    subtitle: a line, or several.
    """
    values = rows.astype(object).where(rows.notna(), None).to_dict("records")
    return {
        **spec,
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "config": LOOK,
        "data": {"values": values},
        "title": {
            "text": title,
            "anchor": "start",
            "offset": 12,
            **({"subtitle": subtitle} if subtitle else {}),
        },
        "width": 760,
        "padding": 16,
        "background": "white",
    }


def svg(chart: dict[str, Any]) -> bytes:
    """A chart from `standalone` as SVG."""
    return vl_convert.vegalite_to_svg(chart).encode()


def png(chart: dict[str, Any]) -> bytes:
    """A chart from `standalone` as PNG."""
    return vl_convert.vegalite_to_png(chart, scale=PNG_SCALE)
