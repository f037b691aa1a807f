"""The built-in data set: ten drawn figures in colour, made in seconds, no download.

Each image shows one large figure, turned, stretched and shaded, on a textured background,
among small distractors that are figures too: outline, size and layering decide, not colour or
mean brightness. Images are drawn in blocks, each from a generator of its own.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy import ndarray as Array
from torch import Tensor

from engine.data.cache import SCHEMA, cached
from engine.data.outlines import OUTLINES, circle, square, triangle
from engine.data.progress import Watch
from engine.data.statistics import channel_statistics
from engine.data.types import IMAGE_SIZE, ImageData
from engine.randomness import Purpose

VERSION = 1  # of the pixels; raise it when the drawing changes
SEED = 0
TRAIN_COUNT = 20_000
TEST_COUNT = 4_000
CLASSES = tuple(OUTLINES)
BLOCK = 100  # images drawn together: small enough for the CPU's cache. Part of the pixels
THREADS = 2  # NumPy lets go of the interpreter; torch's own threads stall on a busy machine
# How hard it is. Chosen so that a small convolutional network passes 90 % in some epochs, and
# a linear classifier stays near chance.
FIGURE_RADIUS = (7.0, 12.5)  # pixels
FIGURE_OPACITY = (0.6, 1.0)
FIGURE_TURN = 1.0  # radians, either way
DISTRACTOR_RADIUS = (1.5, 4.7)  # pixels
BEHIND, BEFORE = 3, 2  # distractors under and over the figure
PATCH = 13  # pixels; the square around a distractor of the largest radius


def load(root: Path, watch: Watch) -> ImageData:
    """20,000 training and 4,000 test images of ten classes; drawn once, then kept in the cache.

    Raises Cancelled, or DataError if the cache folder cannot be written.
    """
    return cached(root, f"shapes-v{VERSION}-s{SCHEMA}", lambda: make(watch), watch)


def make(
    watch: Watch, train: int = TRAIN_COUNT, test: int = TEST_COUNT, seed: int = SEED
) -> ImageData:
    """Draw the data set; fewer images are the first of more. Raises Cancelled."""
    train_images, train_labels = draw(train, seed, 0, watch)
    test_images, test_labels = draw(test, seed, 1, watch)
    mean, std = channel_statistics(train_images)
    return ImageData(
        "shapes", CLASSES, mean, std, train_images, train_labels, test_images, test_labels
    )


def draw(count: int, seed: int, part: int, watch: Watch) -> tuple[Tensor, Tensor]:
    """The first `count` images, uint8 [count, 3, 32, 32], and labels of a part.

    Part 0 is for training, 1 for testing. A block depends on (seed, part, its number) alone.
    Raises Cancelled.
    """
    images, labels = [], []
    pool = ThreadPoolExecutor(THREADS)
    try:
        blocks = pool.map(partial(_draw_block, seed, part), range(math.ceil(count / BLOCK)))
        for done, (new_images, new_labels) in enumerate(blocks, 1):
            watch.tick("drawing shapes", min(done * BLOCK, count), count, "images")
            images.append(new_images)
            labels.append(new_labels)
    finally:
        pool.shutdown(cancel_futures=True)
    return (
        torch.from_numpy(np.concatenate(images)[:count]),
        torch.from_numpy(np.concatenate(labels)[:count]),
    )


class _Dice:
    """Random numbers of one block: a column [BLOCK, 1], one number for each image."""

    def __init__(self, *key: int):
        self.generator = np.random.default_rng(key)

    def uniform(self, low: float, high: float) -> Array:
        return self.generator.random((BLOCK, 1), np.float32) * np.float32(high - low) + low

    def chance(self, probability: float) -> Array:
        """1.0 with this probability, else 0.0."""
        return (self.uniform(0, 1) < probability).astype(np.float32)


# In the functions below an image is float32 [3, BLOCK, pixels], a plane [BLOCK, pixels] and a
# colour [3, BLOCK, 1], so that all of them broadcast.
_Y, _X = (
    plane.reshape(1, -1).astype(np.float32) + np.float32(0.5)
    for plane in np.indices((IMAGE_SIZE, IMAGE_SIZE))
)


def _draw_block(seed: int, part: int, block: int) -> tuple[Array, Array]:
    dice = _Dice(seed, Purpose.SHAPES, part, block)
    labels = dice.generator.permutation(np.arange(BLOCK) % len(CLASSES))
    hue = dice.uniform(0, 1)
    image = _background(dice, hue)
    for _ in range(BEHIND):
        _distractor(dice, image)
    _figure(dice, image, labels, hue)
    for _ in range(BEFORE):
        _distractor(dice, image)
    _light(dice, image)
    pixels = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    pixels = pixels.reshape(3, BLOCK, IMAGE_SIZE, IMAGE_SIZE).swapaxes(0, 1)
    return pixels, labels.astype(np.int64)


def _background(dice: _Dice, hue: Array) -> Array:
    """A gradient between two near colours, with faint stripes on half of the images."""
    value, saturation = dice.uniform(0.3, 0.95), dice.uniform(0.1, 0.65)
    first = _rgb(hue, saturation, value)
    second = _rgb(
        hue + dice.uniform(-0.12, 0.12),
        saturation * dice.uniform(0.5, 1.3),
        value * dice.uniform(0.55, 1.2),
    )
    along = _along(_X - 16, _Y - 16, dice.uniform(0, 2 * math.pi)) / IMAGE_SIZE
    image = first + (second - first) * (along + 0.5).clip(0, 1)
    image *= 1 + _stripes(dice) * (dice.uniform(0, 0.16) * dice.chance(0.5))
    return image


def _figure(dice: _Dice, image: Array, labels: Array, hue: Array) -> None:
    """The labelled figure: its shadow, then its shaded and perhaps striped body and rim."""
    radius = dice.uniform(*FIGURE_RADIUS)
    reach = IMAGE_SIZE / 2 - radius
    cx, cy = (IMAGE_SIZE / 2 + reach * dice.uniform(-1, 1) for _ in range(2))
    u, v = _turn((_X - cx) / radius, (_Y - cy) / radius, dice.uniform(-FIGURE_TURN, FIGURE_TURN))
    stretch = dice.uniform(0.8, 1.25)
    u, v = u * stretch, v / stretch
    distance = np.empty_like(u)
    for label, outline in enumerate(OUTLINES.values()):
        chosen = labels == label
        distance[chosen] = outline(u[chosen], v[chosen])
    distance *= radius  # in pixels

    image *= 1 - _shift((0.5 - distance / 3).clip(0, 1)) * dice.uniform(0.1, 0.4)
    color = _rgb(hue + dice.uniform(0.18, 0.82), dice.uniform(0.35, 1), dice.uniform(0.45, 1))
    shade = 1 - dice.uniform(0, 0.3) * _along(u, v, dice.uniform(0.2, 1.4))
    shade += _stripes(dice) * (dice.uniform(0.1, 0.3) * dice.chance(0.35))
    shade += (distance + 1.6).clip(0, 1) * (dice.uniform(-0.5, 0.4) * dice.chance(0.5))
    cover = (0.5 - distance).clip(0, 1) * dice.uniform(*FIGURE_OPACITY)
    image += (color * shade - image) * cover


def _distractor(dice: _Dice, image: Array) -> None:
    """A small disc, square or triangle of any colour, on three of four images."""
    radius, cx, cy = dice.uniform(*DISTRACTOR_RADIUS), dice.uniform(0, 32), dice.uniform(0, 32)
    left, top = (
        (np.floor(c) - PATCH // 2).clip(0, IMAGE_SIZE - PATCH).astype(np.int64) for c in (cx, cy)
    )
    down, right = (plane.reshape(1, -1) for plane in np.indices((PATCH, PATCH)))
    where = np.arange(BLOCK)[:, None], (top + down) * IMAGE_SIZE + left + right
    u, v = _turn(
        ((left + right + 0.5) - cx).astype(np.float32) / radius,
        ((top + down + 0.5) - cy).astype(np.float32) / radius,
        dice.uniform(-math.pi, math.pi),
    )
    v = v * dice.uniform(0.6, 1.6)
    kind = dice.generator.integers(0, 3, (BLOCK, 1))
    distance = np.choose(kind, (circle(u, v), square(u, v), triangle(u, v))) * radius
    color = _rgb(dice.uniform(0, 1), dice.uniform(0.2, 1), dice.uniform(0.3, 1))
    cover = (0.5 - distance).clip(0, 1) * (dice.uniform(0.5, 1) * dice.chance(0.75))
    for channel in range(3):
        under = image[channel][where]
        image[channel][where] = under + (color[channel] - under) * cover


def _light(dice: _Dice, image: Array) -> None:
    """Contrast, brightness and a camera's noise."""
    image -= 0.5
    image *= dice.uniform(0.7, 1.1)
    image += 0.5 + dice.uniform(-0.08, 0.08)
    noise = dice.generator.standard_normal(image.shape, np.float32)
    noise *= dice.uniform(0.01, 0.07)
    image += noise


def _stripes(dice: _Dice) -> Array:
    """Soft stripes from -1 to 1, of any direction, 3 to 9 pixels apart."""
    wave = (2 * math.pi) / dice.uniform(3, 9)
    along = _along(_X, _Y, dice.uniform(0, math.pi))
    return np.sin(along * wave + dice.uniform(0, 2 * math.pi))


def _along(x: Array, y: Array, angle: Array) -> Array:
    return x * np.cos(angle) + y * np.sin(angle)


def _turn(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """Colours [3, BLOCK, 1] from columns [BLOCK, 1]; hue counts full turns."""
    corner = np.array([0, 2 / 3, 1 / 3], np.float32).reshape(3, 1, 1)
    pure = (np.abs((hue + corner) % 1 * 6 - 3) - 1).clip(0, 1)
    return (value * (1 - saturation + saturation * pure)).clip(0, 1)


def _shift(plane: Array) -> Array:
    """One pixel to the right and down, where a shadow falls."""
    moved = np.zeros_like(plane).reshape(BLOCK, IMAGE_SIZE, IMAGE_SIZE)
    moved[:, 1:, 1:] = plane.reshape(moved.shape)[:, :-1, :-1]
    return moved.reshape(plane.shape)
