"""Scenes of the ten classes of CIFAR-10, drawn here. Pure: no `st.` call.

Flat colors, soft shading and no detail below a pixel of the network's 32×32 input. Lengths are in
hundredths of the picture's side, from the top left corner.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 192  # pixels of a scene
FINE = 2 * SIDE  # pixels while it is drawn, for smooth edges
GRAIN = 5  # standard deviation of the noise, of 255: photographs have some everywhere

Color = str | tuple[int, int, int]


class Canvas:
    """A picture to draw on, lengths in hundredths of its side."""

    def __init__(self, *bands: tuple[float, Color, Color]):
        """bands: (lower edge, color at its top, color at its bottom), from the top down."""
        rows = np.zeros((FINE, 3))
        start = 0
        for edge, *colors in bands:
            end = round(edge * FINE / 100)
            high, low = (np.array(_rgb(color), float) for color in colors)
            rows[start:end] = high + (low - high) * np.linspace(0, 1, end - start)[:, None]
            start = end
        pixels = np.broadcast_to(rows[:, None], (FINE, FINE, 3)).astype(np.uint8)
        self.image = Image.fromarray(np.ascontiguousarray(pixels))
        self.draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        self.draw.polygon([(_length(x), _length(y)) for x, y in points], fill=color)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        """An ellipse around (x, y)."""
        self.draw.ellipse([_length(v) for v in (x - rx, y - ry, x + rx, y + ry)], fill=color)

    def box(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        self.draw.rectangle([_length(v) for v in (left, top, right, bottom)], fill=color)

    def line(self, points: Sequence[tuple[float, float]], width: float, color: Color) -> None:
        """A line with round joints and ends."""
        places = [(_length(x), _length(y)) for x, y in points]
        self.draw.line(places, fill=color, width=round(_length(width)), joint="curve")
        for x, y in points:
            self.ellipse(x, y, width / 2, width / 2, color)

    def soften(self, radius: float) -> None:
        """Blur what has been drawn: the background, before the figure."""
        self.image = self.image.filter(ImageFilter.GaussianBlur(_length(radius)))
        self.draw = ImageDraw.Draw(self.image)

    def finished(self) -> Image.Image:
        """The picture at its final size, with grain and light from above left."""
        small = self.image.filter(ImageFilter.GaussianBlur(_length(0.7)))
        pixels = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BOX), float)
        along = np.linspace(-1, 1, SIDE)
        light = 1 - 0.07 * (along[:, None] + along[None])
        grain = np.random.default_rng(0).normal(0, GRAIN, pixels.shape)
        return Image.fromarray((pixels * light[..., None] + grain).clip(0, 255).astype(np.uint8))


def airplane() -> Image.Image:
    c = Canvas((100, "#4f8fd0", "#b9d9f2"))
    for x, y, r in ((15, 80, 16), (32, 86, 18), (88, 22, 12), (74, 18, 9)):
        c.ellipse(x, y, r, r * 0.45, "#dcebf7")
    c.soften(4)
    c.polygon([(50, 48), (62, 48), (36, 20), (28, 20)], "#aab2bd")  # the far wing
    c.polygon([(14, 47), (22, 46), (12, 27), (5, 27)], "#8d98a8")  # fin
    c.polygon([(8, 52), (24, 49), (84, 46), (94, 50), (90, 55), (70, 58), (24, 57)], "#eef1f4")
    c.polygon([(8, 53), (90, 54), (70, 58), (24, 57)], "#b3bbc6")  # shaded belly
    c.polygon([(45, 54), (62, 54), (38, 83), (28, 84)], "#c9d0d9")  # the near wing
    c.polygon([(13, 53), (22, 53), (12, 64), (6, 64)], "#c9d0d9")
    c.ellipse(44, 68, 5, 3, "#5d6877")  # engine
    c.polygon([(83, 48), (88, 48), (91, 50), (84, 50)], "#2c3642")
    for x in range(30, 80, 6):
        c.ellipse(x, 51, 1.1, 1.1, "#4a5666")
    return c.finished()


def automobile() -> Image.Image:
    c = Canvas((45, "#cfd9df", "#e6e9ea"), (60, "#7c8a72", "#8d9a80"), (100, "#77787c", "#5c5d61"))
    c.soften(3)
    c.ellipse(50, 79, 44, 6, "#3a3b3e")  # shadow
    c.polygon([(24, 52), (36, 34), (66, 34), (80, 52)], "#a81318")
    c.polygon([(30, 51), (39, 37), (50, 37), (50, 51)], "#26313b")  # windows
    c.polygon([(53, 51), (53, 37), (64, 37), (74, 51)], "#33414d")
    c.polygon(
        [(6, 62), (9, 54), (24, 50), (80, 50), (93, 57), (95, 72), (90, 76), (8, 76)], "#d31a20"
    )
    c.polygon([(6, 68), (95, 68), (95, 73), (90, 76), (8, 76)], "#8d0f14")
    c.box(8, 58, 14, 62, "#ffd9a0")
    c.box(88, 58, 94, 63, "#fff3d0")
    for x in (26, 75):
        c.ellipse(x, 75, 11, 11, "#141416")
        c.ellipse(x, 75, 6, 6, "#b9bdc2")
        c.ellipse(x, 75, 2, 2, "#55585c")
    return c.finished()


def bird() -> Image.Image:
    c = Canvas((100, "#a9c08a", "#7f9a62"))
    for x, y, r in ((15, 25, 18), (85, 70, 22), (60, 15, 14), (20, 85, 18)):
        c.ellipse(x, y, r, r, "#8aa66b")
    c.soften(6)
    c.line([(0, 84), (100, 76)], 5, "#5b4632")  # branch
    c.line([(48, 70), (46, 81)], 2, "#3b2f28")
    c.line([(56, 70), (56, 80)], 2, "#3b2f28")
    c.polygon([(66, 58), (96, 74), (92, 80), (58, 68)], "#4c3a2d")  # tail
    c.ellipse(50, 55, 23, 18, "#a8744a")
    c.ellipse(42, 60, 15, 13, "#e6b68a")  # breast
    c.ellipse(32, 36, 13, 12, "#8a5c3a")
    c.polygon([(30, 44), (44, 40), (52, 52), (36, 58)], "#a8744a")
    c.polygon([(20, 34), (21, 41), (8, 40)], "#e5a52c")  # beak
    c.ellipse(28, 34, 2.6, 2.6, "#111111")
    c.polygon([(44, 46), (62, 46), (82, 66), (58, 66)], "#5a4231")  # wing
    c.line([(52, 53), (72, 62)], 1.5, "#c29a74")
    return c.finished()


def cat() -> Image.Image:
    c = Canvas((100, "#8a4a3a", "#6d3328"))
    c.soften(3)
    c.ellipse(50, 104, 40, 34, "#8c8278")  # body
    c.polygon([(20, 42), (19, 6), (46, 26)], "#7d7369")
    c.polygon([(80, 42), (81, 6), (54, 26)], "#7d7369")
    c.polygon([(25, 34), (24, 15), (40, 27)], "#d6a49a")
    c.polygon([(75, 34), (76, 15), (60, 27)], "#d6a49a")
    c.ellipse(50, 50, 34, 30, "#958a7e")
    for x in (40, 50, 60):
        c.line([(x, 22), (50 + (x - 50) * 0.8, 36)], 3, "#4e463f")  # stripes
    for side in (-1, 1):
        for y in (54, 62):
            c.line([(50 + side * 33, y), (50 + side * 24, y + 1)], 2.5, "#5b524a")
        c.ellipse(50 + side * 14, 46, 7, 6, "#c7c34a")
        c.ellipse(50 + side * 14, 46, 2, 5.5, "#101010")
        c.ellipse(50 + side * 7, 65, 10, 8, "#e3ddd5")
    c.ellipse(50, 73, 8, 6, "#e3ddd5")
    c.polygon([(45, 57), (55, 57), (50, 63)], "#c9776f")
    c.line([(50, 63), (50, 67), (45, 70)], 1.2, "#4e463f")
    c.line([(50, 67), (55, 70)], 1.2, "#4e463f")
    for side in (-1, 1):
        for y in (62, 67):
            c.line([(50 + side * 12, 65), (50 + side * 38, y)], 0.8, "#f5f2ee")
    return c.finished()


def deer() -> Image.Image:
    c = Canvas((38, "#55683f", "#6d7f4c"), (100, "#8f9c58", "#a5a964"))
    for x in (8, 26, 70, 90):
        c.box(x, 0, x + 6, 42, "#3f4a30")
    c.soften(3)
    for x in (36, 43, 68, 75):
        c.line([(x, 62), (x + 1, 78), (x - 1, 93)], 3.5, "#6f4a2c")
    c.ellipse(56, 57, 25, 13, "#9a683d")
    c.ellipse(56, 64, 19, 6, "#c09468")
    c.ellipse(80, 52, 4, 5, "#f1e8da")  # tail
    c.polygon([(32, 60), (46, 48), (34, 26), (24, 30)], "#9a683d")  # neck
    c.polygon([(30, 22), (36, 30), (18, 41), (12, 39), (14, 34)], "#8a5b34")  # head
    c.polygon([(34, 28), (46, 22), (40, 30)], "#8a5b34")  # ear
    c.ellipse(13, 38, 2, 2, "#231913")
    c.ellipse(25, 29, 1.6, 1.6, "#15100c")
    for points in (
        [(30, 24), (34, 14), (30, 3)],
        [(34, 14), (42, 8)],
        [(27, 24), (22, 14), (24, 3)],
        [(22, 14), (14, 9)],
    ):
        c.line(points, 1.8, "#4a3624")  # antlers
    return c.finished()


def dog() -> Image.Image:
    c = Canvas((100, "#8fae74", "#6d8d55"))
    c.soften(3)
    c.ellipse(50, 106, 34, 36, "#b77f45")  # body
    c.ellipse(50, 102, 16, 22, "#ead6b8")
    c.ellipse(50, 46, 27, 30, "#c48a4c")
    for side in (-1, 1):  # hanging ears
        c.polygon(
            [
                (50 + side * 18, 22),
                (50 + side * 33, 24),
                (50 + side * 38, 56),
                (50 + side * 30, 62),
                (50 + side * 23, 44),
            ],
            "#7a4a22",
        )
    c.polygon([(46, 16), (54, 16), (57, 50), (43, 50)], "#efe0c8")  # blaze
    c.ellipse(50, 62, 17, 15, "#efe0c8")  # muzzle
    for side in (-1, 1):
        c.ellipse(50 + side * 13, 42, 4, 4, "#20140c")
        c.ellipse(49 + side * 13, 40.5, 1, 1, "#f5f5f5")
    c.ellipse(50, 56, 7, 5, "#17110e")
    c.line([(50, 60), (50, 67), (42, 70)], 1.5, "#4b3523")
    c.line([(50, 67), (58, 70)], 1.5, "#4b3523")
    c.ellipse(50, 74, 5, 6, "#d9737a")  # tongue
    return c.finished()


def frog() -> Image.Image:
    c = Canvas((100, "#8a7a55", "#6b5c3e"))
    for x, y, r in ((20, 20, 15), (78, 28, 18), (60, 90, 20), (12, 80, 14)):
        c.ellipse(x, y, r, r * 0.7, "#9c8c62")
    c.soften(4)
    c.ellipse(50, 84, 42, 8, "#40361f")  # shadow
    for side in (-1, 1):
        c.ellipse(50 + side * 30, 68, 15, 17, "#4d7a26")  # thighs
        c.ellipse(50 + side * 36, 84, 13, 4, "#5f9430")
    c.ellipse(50, 62, 30, 26, "#6aa334")
    c.ellipse(50, 74, 19, 14, "#cfd99a")  # belly
    c.ellipse(50, 44, 28, 18, "#73b03a")  # head
    for side in (-1, 1):
        c.ellipse(50 + side * 17, 29, 9, 9, "#73b03a")
        c.ellipse(50 + side * 17, 28, 6, 6, "#d9b23a")
        c.ellipse(50 + side * 17, 28, 4, 2.5, "#14140f")
        c.line([(50 + side * 17, 68), (50 + side * 19, 86)], 6, "#5f9430")
        c.ellipse(50 + side * 20, 87, 8, 3, "#73b03a")
        c.ellipse(50 + side * 3, 41, 1, 1, "#2d4a16")
    c.line([(25, 48), (38, 54), (50, 55.5), (62, 54), (75, 48)], 1.8, "#2d4a16")
    return c.finished()


def horse() -> Image.Image:
    c = Canvas((42, "#9cc3e6", "#d3e4ee"), (48, "#4d6b3a", "#587843"), (100, "#7da050", "#6a8c42"))
    c.soften(2)
    for x, color in ((38, "#4a2a17"), (72, "#4a2a17"), (33, "#6b3d20"), (77, "#6b3d20")):
        c.line([(x, 60), (x - 1, 77), (x, 93)], 4.5, color)
    c.polygon([(80, 46), (92, 54), (93, 76), (86, 72), (82, 56)], "#24140c")  # tail
    c.ellipse(56, 54, 28, 14, "#7a4624")
    c.ellipse(74, 52, 12, 13, "#7a4624")
    c.polygon([(26, 56), (44, 42), (36, 14), (22, 20)], "#7a4624")  # neck
    c.polygon([(26, 12), (36, 20), (14, 43), (5, 41), (6, 34)], "#6b3d20")  # head
    c.polygon([(29, 15), (31, 5), (36, 15)], "#6b3d20")
    c.polygon([(32, 12), (40, 16), (50, 42), (42, 44)], "#24140c")  # mane
    c.ellipse(20, 25, 1.6, 1.6, "#0e0906")
    c.ellipse(8, 38, 1.2, 1.2, "#1c100a")
    return c.finished()


def ship() -> Image.Image:
    c = Canvas((58, "#8fb8dc", "#dfeaf0"), (100, "#3f6f95", "#23496c"))
    for x, y, r in ((20, 18, 14), (34, 22, 12), (80, 12, 12)):
        c.ellipse(x, y, r, r * 0.4, "#eef4f8")
    c.soften(3)
    for y in range(66, 98, 6):
        c.line([(5 + y % 17, y), (30 + y % 13, y)], 0.8, "#6d96b6")
        c.line([(60 + y % 11, y + 2), (92, y + 2)], 0.8, "#6d96b6")
    c.box(30, 40, 70, 52, "#f1f1ee")  # decks
    c.box(37, 32, 62, 41, "#e2e3e2")
    c.box(47, 18, 56, 33, "#c8352c")  # funnel
    c.box(47, 18, 56, 21, "#22262b")
    c.line([(34, 40), (34, 20)], 1, "#4b525a")
    c.line([(72, 52), (72, 28)], 1, "#4b525a")
    for x in range(34, 70, 6):
        c.ellipse(x, 46, 1.3, 1.3, "#37506a")
    c.polygon([(4, 50), (96, 48), (86, 70), (14, 70)], "#26313f")
    c.polygon([(12, 66), (88, 66), (86, 71), (14, 71)], "#9b2d26")
    c.line([(10, 72), (90, 72)], 1.5, "#cfe0ea")  # foam
    return c.finished()


def truck() -> Image.Image:
    c = Canvas((52, "#a9cbe6", "#dce8ef"), (62, "#7d8b6a", "#87946f"), (100, "#66676b", "#525357"))
    c.soften(2)
    c.ellipse(50, 84, 47, 5, "#333437")
    c.box(4, 18, 64, 70, "#e7e8e6")  # box
    c.box(4, 60, 64, 70, "#c3c5c4")
    c.box(62, 18, 64, 70, "#a9acac")
    c.polygon([(66, 70), (66, 32), (84, 32), (93, 52), (96, 56), (96, 74), (66, 74)], "#2458a8")
    c.polygon([(72, 50), (72, 37), (82, 37), (89, 50)], "#1d2732")  # window
    c.box(4, 70, 96, 76, "#26282c")
    c.box(91, 62, 96, 66, "#ffe9b0")
    for x in (16, 32, 80):
        c.ellipse(x, 78, 8.5, 8.5, "#131315")
        c.ellipse(x, 78, 4, 4, "#a4a8ad")
    return c.finished()


SCENES: dict[str, Callable[[], Image.Image]] = {
    scene.__name__: scene
    for scene in (airplane, automobile, bird, cat, deer, dog, frog, horse, ship, truck)
}


def _length(value: float) -> float:
    return value * FINE / 100


def _rgb(color: Color) -> tuple[int, int, int]:
    return tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) if isinstance(color, str) else color
