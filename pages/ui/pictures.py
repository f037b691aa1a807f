"""Images and heatmaps as pictures. Pure: no `st.` call."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from pages.ui.images import enlarge

SCALE = 8  # screen pixels for each pixel of a heatmap


def address(image: Image.Image) -> str:
    """The image as a data: URL of a PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def small_address(pixels: Any) -> str:
    """uint8 [3, H, W], twice as large, as a data: URL of a JPEG: about 1 kB."""
    file = io.BytesIO()
    enlarge(pixels, 2).save(file, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def signed(values: Any) -> Image.Image:
    """A map [H, W] in color: red for positive values, blue for negative ones, white for 0."""
    share = _scaled(np.asarray(values, np.float64))
    strength = np.abs(share)[..., None]
    color = np.where(share[..., None] > 0, (178, 24, 43), (33, 102, 172))
    return _picture(255 + (color - 255) * strength)


def overlay(values: Any, image: Any) -> Image.Image:
    """A map [H, W] of values from 0 up, in red over a gray version of image, uint8 [3, H, W]."""
    share = np.clip(_scaled(np.asarray(values, np.float64)), 0, 1)[..., None]
    gray = np.asarray(image, np.float64).transpose(1, 2, 0).mean(-1, keepdims=True).repeat(3, -1)
    return _picture(gray * (1 - 0.75 * share) + np.array([255, 60, 0]) * 0.75 * share)


def channels(maps: Any, limit: int) -> list[Any]:
    """The first channels of [C, H, W] as gray images uint8 [3, H, W], each stretched by itself."""
    found = []
    for values in np.asarray(maps, np.float64)[:limit]:
        low, high = values.min(), values.max()
        gray = 255 * (values - low) / (high - low) if high > low else np.zeros_like(values)
        found.append(gray.round().astype(np.uint8)[None].repeat(3, 0))
    return found


def _scaled(values: np.ndarray) -> np.ndarray:
    """Divided by the largest absolute value; zeros stay zeros."""
    largest = np.abs(values).max()
    return values / largest if largest else values


def _picture(pixels: np.ndarray) -> Image.Image:
    return enlarge(pixels.round().clip(0, 255).astype(np.uint8).transpose(2, 0, 1), SCALE)
