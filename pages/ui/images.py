"""Small images made large: every pixel stays a square, and many images become one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

LARGE, SMALL = 13, 6  # scales that `beside` puts together: two small ones and a gap make a large
SIZE = 32


def enlarge(image: Any, scale: int = 6) -> Image.Image:
    """uint8 [3, H, W] (a tensor on the CPU or an array) as a picture, each pixel scale × scale."""
    pixels = np.asarray(image).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(scale, 0).repeat(scale, 1)))


def contact_sheet(images: Any, columns: int = 8, scale: int = 3, gap: int = 2) -> Image.Image:
    """N ≥ 1 images uint8 [3, H, W], row by row in one picture; what lies between is clear.

    scale: screen pixels along an image's pixel; gap: screen pixels between two images.
    """
    pixels = np.stack([np.asarray(image) for image in images])
    count, _, height, width = pixels.shape
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    step_y, step_x = height * scale + gap, width * scale + gap
    sheet = np.zeros((rows * step_y - gap, columns * step_x - gap, 4), np.uint8)  # clear
    for i, image in enumerate(pixels):
        top, left = i // columns * step_y, i % columns * step_x
        cell = sheet[top : top + height * scale, left : left + width * scale]
        cell[..., :3] = image.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
        cell[..., 3] = 255
    return Image.fromarray(sheet)


def beside(large: Image.Image, small: Sequence[Image.Image] = ()) -> Image.Image:
    """A picture at scale LARGE and up to two at scale SMALL, stacked at its right.

    One picture, so that the parts keep their proportions however wide it is shown.
    """
    gap = (LARGE - 2 * SMALL) * SIZE
    sheet = Image.new("RGBA", ((LARGE + SMALL) * SIZE + gap, LARGE * SIZE))  # clear
    places = [(0, 0), *((LARGE * SIZE + gap, row * (SMALL * SIZE + gap)) for row in range(2))]
    draw = ImageDraw.Draw(sheet)
    for (left, top), picture in zip(places, [large, *small], strict=False):
        sheet.paste(picture, (left, top))
        # black padding would end nowhere on a dark page
        edge = left, top, left + picture.width - 1, top + picture.height - 1
        draw.rectangle(edge, outline="#808080", width=2)
    return sheet


def framed(picture: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """A copy with a frame, white around black to show on anything, just inside these pixels."""
    picture = picture.copy()
    draw = ImageDraw.Draw(picture)
    for inset, colour in ((0, "white"), (4, "black")):
        box = left + inset, top + inset, left + width - 1 - inset, top + height - 1 - inset
        if box[0] <= box[2] and box[1] <= box[3]:
            draw.rectangle(box, outline=colour, width=4)
    return picture
