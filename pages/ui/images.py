"""Enlargement of small images without smoothing, and composition of several images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

LARGE, SMALL = 13, 6  # scales of `beside`: two small images and a gap are as high as a large one
SIZE = 32


def enlarge(image: Any, scale: int = 6) -> Image.Image:
    """uint8 [3, H, W] (CPU tensor or array) as a picture; each pixel becomes scale × scale."""
    pixels = np.asarray(image).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(scale, 0).repeat(scale, 1)))


def contact_sheet(images: Any, columns: int = 8, scale: int = 3, gap: int = 2) -> Image.Image:
    """N ≥ 1 images uint8 [3, H, W], row by row in one picture; gaps are transparent.

    scale: side of an image pixel, gap: distance between images, both in screen pixels.
    """
    pixels = np.stack([np.asarray(image) for image in images])
    count, _, height, width = pixels.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    step_y, step_x = height * scale + gap, width * scale + gap
    sheet = np.zeros((rows * step_y - gap, columns * step_x - gap, 4), np.uint8)  # transparent
    for i, image in enumerate(pixels):
        top, left = i // columns * step_y, i % columns * step_x
        cell = sheet[top : top + height * scale, left : left + width * scale]
        cell[..., :3] = image.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
        cell[..., 3] = 255
    return Image.fromarray(sheet)


def beside(large: Image.Image, small: Sequence[Image.Image] = ()) -> Image.Image:
    """An image at scale LARGE with up to two at scale SMALL, stacked to the right of it.

    One picture, so that the parts keep their proportions at any width.
    """
    gap = (LARGE - 2 * SMALL) * SIZE
    sheet = Image.new("RGBA", ((LARGE + SMALL) * SIZE + gap, LARGE * SIZE))  # transparent
    corners = [(0, 0), *((LARGE * SIZE + gap, row * (SMALL * SIZE + gap)) for row in range(2))]
    draw = ImageDraw.Draw(sheet)
    for (left, top), picture in zip(corners, [large, *small], strict=False):
        sheet.paste(picture, (left, top))
        # On a dark page, black padding would have no visible edge.
        edge = left, top, left + picture.width - 1, top + picture.height - 1
        draw.rectangle(edge, outline="#808080", width=2)
    return sheet


def framed(picture: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """A copy with a frame just inside these pixels: white and black, visible on any image."""
    picture = picture.copy()
    draw = ImageDraw.Draw(picture)
    for inset, colour in ((0, "white"), (4, "black")):
        box = left + inset, top + inset, left + width - 1 - inset, top + height - 1 - inset
        if box[0] <= box[2] and box[1] <= box[3]:
            draw.rectangle(box, outline=colour, width=4)
    return picture
