"""Small images made large: every pixel stays a square, and many images become one picture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw


def enlarge(image: Any, scale: int = 6) -> Image.Image:
    """uint8 [3, H, W] (a tensor on the CPU or an array) as a picture, each pixel scale × scale."""
    pixels = np.asarray(image).transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels.repeat(scale, 0).repeat(scale, 1)))


def contact_sheet(images: Any, columns: int = 8, scale: int = 3, gap: int = 2) -> Image.Image:
    """uint8 [N, 3, H, W], N at least 1, row by row in one picture; what lies between is clear.

    scale: screen pixels along an image's pixel; gap: screen pixels between two images.
    """
    pixels = np.asarray(images)
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


def framed(picture: Image.Image, top: int, left: int, height: int, width: int) -> Image.Image:
    """A copy with a frame, dark within light to show on anything, just inside these pixels."""
    picture = picture.copy()
    draw = ImageDraw.Draw(picture)
    for inset, colour in ((0, "white"), (2, "black")):
        draw.rectangle(
            (left + inset, top + inset, left + width - 1 - inset, top + height - 1 - inset),
            outline=colour,
            width=2,
        )
    return picture
