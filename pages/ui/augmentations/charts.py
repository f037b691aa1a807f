"""Charts of the Augmentations page: rows, and specs that do not depend on the rows.

Pure: no `st.` call. Colors come from the theme, in the order of a fixed domain.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pandas as pd

from engine.augment import RandomErasing
from engine.randomness import Purpose, keyed_generator
from pages.ui import axes
from pages.ui.text import percent

OWN, PARTNER = "this image", "its partner"
SAMPLES = 4_000  # images of the histogram of erased areas
BIN = 0.025  # bin width of the histogram, as a share of the image
DRAWN, MARKED = "all", "this one"


def label_rows(parts: list[tuple[str, float]]) -> pd.DataFrame:
    """Rows for LABEL_SPEC."""
    rows = [
        (f"{name} {percent(share, 1)}", share, part)
        for (name, share), part in zip(parts, (OWN, PARTNER), strict=False)
    ]
    return pd.DataFrame(rows, columns=["label", "share", "part"])


def beta_rows(alpha: float, lam: float) -> pd.DataFrame:
    """Rows for BETA_SPEC: the density of Beta(α, α) at 199 points, and this batch's λ."""
    x = np.arange(1, 200) / 200
    log_scale = math.lgamma(2 * alpha) - 2 * math.lgamma(alpha)
    density = np.exp(log_scale + (alpha - 1) * np.log(x * (1 - x)))
    curve = pd.DataFrame({"x": x, "density": density, "kind": DRAWN})
    mark = {"x": lam, "kind": MARKED, "text": f"λ = {lam:.3f}"}
    return pd.concat([curve, pd.DataFrame([mark])], ignore_index=True)


@functools.lru_cache(maxsize=64)
def _areas(erasing: RandomErasing) -> tuple[np.ndarray, int]:
    """Histogram of the erased area over SAMPLES images, bin width BIN; number of erased images."""
    params = erasing.sample((SAMPLES, 3, 32, 32), keyed_generator(0, Purpose.AUGMENT))
    area = (params.height * params.width).numpy() / (32 * 32)
    counts, _ = np.histogram(area[area > 0], bins=round(1 / BIN), range=(0, 1))
    return counts / SAMPLES, int((area > 0).sum())


def erased_often(erasing: RandomErasing) -> int:
    """Number of images, out of SAMPLES, in which a rectangle is erased."""
    return _areas(erasing)[1]


def area_rows(erasing: RandomErasing, area: float) -> pd.DataFrame:
    """Rows for AREA_SPEC: histogram of erased areas, and this image's area if erased."""
    shares, _ = _areas(erasing)
    start = np.arange(len(shares)) * BIN
    rows = pd.DataFrame({"x": start, "end": start + BIN, "share": shares, "kind": DRAWN})
    if not area:
        return rows
    mark = {"x": area, "kind": MARKED, "text": percent(area, 1)}
    return pd.concat([rows, pd.DataFrame([mark])], ignore_index=True)


def _kinds(domain: list[str], field: str = "kind") -> dict[str, Any]:
    # A fixed domain takes its colors from the theme, in order.
    return {"field": field, "type": "nominal", "scale": {"domain": domain}, "legend": None}


def _only(kind: str) -> list[dict[str, str]]:
    return [{"filter": f"datum.kind === '{kind}'"}]


def _marked() -> list[dict[str, Any]]:
    """A vertical line at the marked row, its text above it, on the side with more room."""
    color = _kinds([DRAWN, MARKED])
    text = {
        "type": "text",
        "align": {"expr": "datum.x > 0.5 ? 'right' : 'left'"},
        "dx": {"expr": "datum.x > 0.5 ? 2 : -2"},
        "baseline": "bottom",
        "fontSize": 13,
        "fontWeight": "bold",
    }
    x = {"field": "x", "type": "quantitative"}
    return [
        {
            "transform": _only(MARKED),
            "mark": {"type": "rule", "strokeWidth": 3},
            "encoding": {"x": x, "color": color},
        },
        {
            "transform": _only(MARKED),
            "mark": text,
            "encoding": {"x": x, "y": {"value": -3}, "text": {"field": "text"}, "color": color},
        },
    ]


LABEL_SPEC: dict[str, Any] = {
    "config": axes.CONFIG,
    "height": 110,
    "width": "container",
    "mark": {"type": "bar", "cornerRadiusEnd": 3, "size": 16},
    "encoding": {
        "y": {
            "field": "label",
            "type": "nominal",
            "sort": None,
            "title": None,
            "axis": {"labelLimit": 170, "ticks": False, "domain": False},
        },
        "x": {
            "field": "share",
            "type": "quantitative",
            "title": "Share of the label",
            "scale": {"domain": [0, 1]},
            "axis": {"format": "%", "tickCount": 3},
        },
        "color": _kinds([OWN, PARTNER], "part"),
        "tooltip": [
            {"field": "label", "type": "nominal", "title": "Class"},
            {"field": "part", "type": "nominal", "title": "From"},
        ],
    },
}

BETA_SPEC: dict[str, Any] = {
    "config": axes.CONFIG,
    "height": 180,
    "width": "container",
    "layer": [
        {
            "transform": _only(DRAWN),
            "mark": {"type": "area", "clip": True, "opacity": 0.35, "line": {"clip": True}},
            "encoding": {
                "x": {
                    "field": "x",
                    "type": "quantitative",
                    "title": "λ, the weight of this image",
                    "scale": {"domain": [0, 1]},
                    "axis": {"tickCount": 5},
                },
                "y": {
                    "field": "density",
                    "type": "quantitative",
                    "title": "Density",
                    "scale": {"domain": [0, 3]},
                    "axis": {"tickCount": 3},
                },
                "color": _kinds([DRAWN, MARKED]),
            },
        },
        *_marked(),
    ],
}

AREA_SPEC: dict[str, Any] = {
    "config": axes.CONFIG,
    "height": 180,
    "width": "container",
    "layer": [
        {
            "transform": _only(DRAWN),
            "mark": {"type": "bar", "opacity": 0.6, "binSpacing": 1},
            "encoding": {
                "x": {
                    "field": "x",
                    "type": "quantitative",
                    "bin": {"binned": True},
                    "title": "Erased share of the image",
                    "scale": {"domain": [0, 1]},
                    "axis": {"format": "%", "tickCount": 5},
                },
                "x2": {"field": "end"},
                "y": {
                    "field": "share",
                    "type": "quantitative",
                    "stack": None,
                    "title": "Share of images",
                    "axis": {"format": ".1~%", "tickCount": 3},
                },
                "color": _kinds([DRAWN, MARKED]),
                "tooltip": [
                    {"field": "x", "type": "quantitative", "title": "From", "format": ".1%"},
                    {"field": "end", "type": "quantitative", "title": "to", "format": ".1%"},
                    {"field": "share", "type": "quantitative", "title": "Images", "format": ".1%"},
                ],
            },
        },
        *_marked(),
    ],
}
