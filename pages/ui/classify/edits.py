"""Rotation and crop of a picture before it is classified. Pure: no `st.` call."""

from __future__ import annotations

from dataclasses import dataclass, replace

from PIL import Image

from pages.ui.images import framed

_TURNS = (None, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90)


@dataclass(frozen=True)
class Square:
    """A square part of a picture, in pixels from its top left corner."""

    left: int
    top: int
    side: int

    def within(self, width: int, height: int) -> Square:
        """Moved, and reduced if need be, to lie within a picture of that size."""
        side = max(1, min(self.side, width, height))
        left = max(0, min(self.left, width - side))
        return Square(left, max(0, min(self.top, height - side)), side)


@dataclass(frozen=True)
class Edit:
    """What is done to a picture: quarter turns clockwise, 0 to 3, then a crop."""

    turns: int = 0
    square: Square | None = None

    def rotated(self, width: int, height: int) -> Edit:
        """One more quarter turn of a picture of that size, its square upon the same content."""
        old = self.square
        square = old and Square(height - old.top - old.side, old.left, old.side)
        return replace(self, turns=(self.turns + 1) % 4, square=square)

    def describe(self) -> str:
        """For example ", rotated by 90°, cropped to 40×40 pixels at (10, 20)"."""
        text = f", rotated by {90 * self.turns}°" if self.turns else ""
        if self.square:
            left, top, side = self.square.left, self.square.top, self.square.side
            text += f", cropped to {side}×{side} pixels at ({left}, {top})"
        return text


UNCHANGED = Edit()


def central(width: int, height: int) -> Square:
    """The largest square, in the middle."""
    side = min(width, height)
    return Square((width - side) // 2, (height - side) // 2, side)


def turn(image: Image.Image, edit: Edit) -> Image.Image:
    method = _TURNS[edit.turns]
    return image if method is None else image.transpose(method)


def crop(image: Image.Image, square: Square, width: int) -> Image.Image:
    """A square of an image which is `width` pixels wide in its file, but may be reduced."""
    scale = image.width / width
    side = max(1, round(square.side * scale))
    left, top = round(square.left * scale), round(square.top * scale)
    return image.crop((left, top, left + side, top + side))


def outlined(image: Image.Image, square: Square, width: int, side: int) -> Image.Image:
    """The image with a frame around a square of it, its longer side `side` pixels.

    width: as for `crop`.
    """
    scale = side / max(image.size)
    picture = image.resize([max(1, round(length * scale)) for length in image.size])
    left, top, edge = (
        round(value * picture.width / width) for value in (square.left, square.top, square.side)
    )
    return framed(picture, top, left, edge, edge)
