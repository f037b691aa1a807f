"""Signed distance functions of the ten figures of the built-in data set.

Each function takes x and y, float arrays of the same shape, in units of the figure's radius with y
pointing down, and returns the signed distance to the outline in the same units: negative inside,
approximate away from the outline, where only its sign is used.
"""

import math

import numpy as np
from numpy import ndarray as Array


def arrow(x: Array, y: Array) -> Array:
    shaft = box(x, y - 0.4, 0.24, 0.55)
    # The head: under two slanted edges that meet at (0, -0.98), above its base at y = 0.
    slanted = (np.abs(x) - 0.84 * (y + 0.98)) / math.hypot(1.0, 0.84)
    return np.minimum(shaft, np.maximum(slanted, y))


def circle(x: Array, y: Array) -> Array:
    return np.hypot(x, y) - 0.9


def crescent(x: Array, y: Array) -> Array:
    bite = 0.76 - np.hypot(x - 0.46, y)
    return np.maximum(np.hypot(x, y) - 0.95, bite)


def cross(x: Array, y: Array) -> Array:
    return np.minimum(box(x, y, 0.95, 0.32), box(x, y, 0.32, 0.95))


def flower(x: Array, y: Array) -> Array:
    px, py, radius = _fold(x, y, 5)
    return np.minimum(np.hypot(px - 0.58, py) - 0.38, radius - 0.4)


def heart(x: Array, y: Array) -> Array:
    x, y = np.abs(x), y + 0.06
    # A rotated square and a disc on each of its two upper edges.
    tip = (x + np.abs(y - 0.22)) / math.sqrt(2) - 0.61
    lobe = np.hypot(x - 0.43, y + 0.21) - 0.60
    return np.minimum(tip, lobe)


def ring(x: Array, y: Array) -> Array:
    return np.abs(np.hypot(x, y) - 0.7) - 0.23


def square(x: Array, y: Array) -> Array:
    return box(x, y, 0.76, 0.76)


def star(x: Array, y: Array) -> Array:
    px, py, _ = _fold(x, y, 5)
    # The edge from a tip (1, 0) to a notch of radius 0.45, repeated by the fold.
    ex, ey = 0.45 * math.cos(math.pi / 5) - 1, 0.45 * math.sin(math.pi / 5)
    return ((px - 1) * ey - py * ex) / math.hypot(ex, ey)


def triangle(x: Array, y: Array) -> Array:
    """Equilateral, with corners at radius 1."""
    return np.maximum(np.abs(x) * (math.sqrt(3) / 2) - y / 2, y) - 0.5


def box(x: Array, y: Array, half_width: float, half_height: float) -> Array:
    return np.maximum(np.abs(x) - half_width, np.abs(y) - half_height)


def _fold(x: Array, y: Array, count: int) -> tuple[Array, Array, Array]:
    """Fold the plane onto half of one of `count` equal sectors around the upward axis.

    Returns the folded coordinates, the first along the middle of the sector, and the radius.
    """
    sector = 2 * math.pi / count
    angle = np.arctan2(x, -y)
    angle = np.abs(angle - sector * np.round(angle / sector))
    radius = np.hypot(x, y)
    return radius * np.cos(angle), radius * np.sin(angle), radius


OUTLINES = {  # in the order of the labels
    "arrow": arrow,
    "circle": circle,
    "crescent": crescent,
    "cross": cross,
    "flower": flower,
    "heart": heart,
    "ring": ring,
    "square": square,
    "star": star,
    "triangle": triangle,
}
