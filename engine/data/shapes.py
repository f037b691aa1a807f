"""The built-in data set: ten classes of procedurally drawn figures, without a download.

Each image shows one large figure, rotated, stretched and shaded, on a textured background, among
small distractors that are figures themselves: the class follows from outline, size and layering,
not from color or mean brightness. Images are drawn in blocks, each with its own generator.
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

VERSION = 1  # of the pixels; increment when they change, to invalidate caches
SEED = 0
TRAIN_COUNT = 20_000
TEST_COUNT = 4_000
CLASSES = tuple(OUTLINES)
BLOCK = 100  # images drawn together; fits the CPU's cache. Changing it changes the pixels
THREADS = 2  # of Python, as NumPy releases the GIL; torch's stall on a busy machine
# Difficulty: a small convolutional network exceeds 90 % within a few epochs, and a linear
# classifier stays near chance level.
FIGURE_RADIUS = (7.0, 12.5)  # pixels
FIGURE_OPACITY = (0.6, 1.0)
FIGURE_ROTATION = 1.0  # radians, at most, in either direction
DISTRACTOR_RADIUS = (1.5, 4.7)  # pixels
DISTRACTORS_BEHIND, DISTRACTORS_IN_FRONT = 3, 2  # of the figure
PATCH = 13  # pixels; side of the square that a distractor is drawn in


def load(root: Path, watch: Watch) -> ImageData:
    """20,000 training and 4,000 test images of ten classes; drawn once, then cached.

    Raises Cancelled, or DataError if the cache folder cannot be written.
    """
    return cached(root, f"shapes-v{VERSION}-s{SCHEMA}", lambda: make(watch), watch)


def make(
    watch: Watch, train: int = TRAIN_COUNT, test: int = TEST_COUNT, seed: int = SEED
) -> ImageData:
    """Draw the data set. A smaller one is a prefix of a larger one. Raises Cancelled."""
    train_images, train_labels = draw(train, seed, 0, watch)
    test_images, test_labels = draw(test, seed, 1, watch)
    mean, std = channel_statistics(train_images)
    # Not of the pixels: sine and cosine, and so a few pixels, differ a little between CPUs.
    version = {"images": f"shapes-v{VERSION}-{seed}", "labels": f"shapes-v{VERSION}-{seed}"}
    return ImageData(
        "shapes",
        CLASSES,
        mean,
        std,
        train_images,
        train_labels,
        test_images,
        test_labels,
        fingerprint={"train": {"count": train, **version}, "test": {"count": test, **version}},
    )


def draw(count: int, seed: int, part: int, watch: Watch) -> tuple[Tensor, Tensor]:
    """The first `count` images, uint8 [count, 3, 32, 32], and labels, int64 [count], of a part.

    part: 0 for training, 1 for testing. A block depends on (seed, part, block index) alone. Raises
    Cancelled.
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


class _BlockRandom:
    """Random numbers of one block, as columns [BLOCK, 1]: one number for each image."""

    def __init__(self, *key: int):
        self.generator = np.random.default_rng(key)

    def uniform(self, low: float, high: float) -> Array:
        return self.generator.random((BLOCK, 1), np.float32) * np.float32(high - low) + low

    def bernoulli(self, probability: float) -> Array:
        """1.0 with this probability, else 0.0."""
        return (self.uniform(0, 1) < probability).astype(np.float32)


# Shapes below, which broadcast: images float32 [3, BLOCK, pixels], planes [BLOCK, pixels], colors
# [3, BLOCK, 1], columns [BLOCK, 1].
_Y, _X = (
    plane.reshape(1, -1).astype(np.float32) + np.float32(0.5)
    for plane in np.indices((IMAGE_SIZE, IMAGE_SIZE))
)


def _draw_block(seed: int, part: int, block: int) -> tuple[Array, Array]:
    rng = _BlockRandom(seed, Purpose.SHAPES, part, block)
    labels = rng.generator.permutation(np.arange(BLOCK) % len(CLASSES))
    hue = rng.uniform(0, 1)
    image = _background(rng, hue)
    for _ in range(DISTRACTORS_BEHIND):
        _distractor(rng, image)
    _figure(rng, image, labels, hue)
    for _ in range(DISTRACTORS_IN_FRONT):
        _distractor(rng, image)
    _photometric(rng, image)
    pixels = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    pixels = pixels.reshape(3, BLOCK, IMAGE_SIZE, IMAGE_SIZE).swapaxes(0, 1)
    return pixels, labels.astype(np.int64)


def _background(rng: _BlockRandom, hue: Array) -> Array:
    """A gradient between two similar colors; faint stripes with probability 1/2."""
    value, saturation = rng.uniform(0.3, 0.95), rng.uniform(0.1, 0.65)
    first = _rgb(hue, saturation, value)
    second = _rgb(
        hue + rng.uniform(-0.12, 0.12),
        saturation * rng.uniform(0.5, 1.3),
        value * rng.uniform(0.55, 1.2),
    )
    along = _project(_X - 16, _Y - 16, rng.uniform(0, 2 * math.pi)) / IMAGE_SIZE
    image = first + (second - first) * (along + 0.5).clip(0, 1)
    image *= 1 + _stripes(rng) * (rng.uniform(0, 0.16) * rng.bernoulli(0.5))
    return image


def _figure(rng: _BlockRandom, image: Array, labels: Array, hue: Array) -> None:
    """Draw the labelled figure: a shadow, then the shaded and possibly striped body and rim."""
    radius = rng.uniform(*FIGURE_RADIUS)
    reach = IMAGE_SIZE / 2 - radius
    cx, cy = (IMAGE_SIZE / 2 + reach * rng.uniform(-1, 1) for _ in range(2))
    u, v = _rotate(
        (_X - cx) / radius, (_Y - cy) / radius, rng.uniform(-FIGURE_ROTATION, FIGURE_ROTATION)
    )
    stretch = rng.uniform(0.8, 1.25)
    u, v = u * stretch, v / stretch
    distance = np.empty_like(u)
    for label, outline in enumerate(OUTLINES.values()):
        chosen = labels == label
        distance[chosen] = outline(u[chosen], v[chosen])
    distance *= radius  # now in pixels

    image *= 1 - _shift((0.5 - distance / 3).clip(0, 1)) * rng.uniform(0.1, 0.4)
    color = _rgb(hue + rng.uniform(0.18, 0.82), rng.uniform(0.35, 1), rng.uniform(0.45, 1))
    shade = 1 - rng.uniform(0, 0.3) * _project(u, v, rng.uniform(0.2, 1.4))
    shade += _stripes(rng) * (rng.uniform(0.1, 0.3) * rng.bernoulli(0.35))
    shade += (distance + 1.6).clip(0, 1) * (rng.uniform(-0.5, 0.4) * rng.bernoulli(0.5))
    alpha = (0.5 - distance).clip(0, 1) * rng.uniform(*FIGURE_OPACITY)
    image += (color * shade - image) * alpha


def _distractor(rng: _BlockRandom, image: Array) -> None:
    """Draw a small disc, square or triangle of any color, with probability 3/4."""
    radius, cx, cy = rng.uniform(*DISTRACTOR_RADIUS), rng.uniform(0, 32), rng.uniform(0, 32)
    left, top = (
        (np.floor(c) - PATCH // 2).clip(0, IMAGE_SIZE - PATCH).astype(np.int64) for c in (cx, cy)
    )
    down, right = (plane.reshape(1, -1) for plane in np.indices((PATCH, PATCH)))
    where = np.arange(BLOCK)[:, None], (top + down) * IMAGE_SIZE + left + right
    u, v = _rotate(
        ((left + right + 0.5) - cx).astype(np.float32) / radius,
        ((top + down + 0.5) - cy).astype(np.float32) / radius,
        rng.uniform(-math.pi, math.pi),
    )
    v = v * rng.uniform(0.6, 1.6)
    kind = rng.generator.integers(0, 3, (BLOCK, 1))
    distance = np.choose(kind, (circle(u, v), square(u, v), triangle(u, v))) * radius
    color = _rgb(rng.uniform(0, 1), rng.uniform(0.2, 1), rng.uniform(0.3, 1))
    alpha = (0.5 - distance).clip(0, 1) * (rng.uniform(0.5, 1) * rng.bernoulli(0.75))
    for channel in range(3):
        under = image[channel][where]
        image[channel][where] = under + (color[channel] - under) * alpha


def _photometric(rng: _BlockRandom, image: Array) -> None:
    """Change contrast and brightness, and add Gaussian noise."""
    image -= 0.5
    image *= rng.uniform(0.7, 1.1)
    image += 0.5 + rng.uniform(-0.08, 0.08)
    noise = rng.generator.standard_normal(image.shape, np.float32)
    noise *= rng.uniform(0.01, 0.07)
    image += noise


def _stripes(rng: _BlockRandom) -> Array:
    """Sinusoidal stripes from -1 to 1, of any direction, with a period of 3 to 9 pixels."""
    wave = (2 * math.pi) / rng.uniform(3, 9)
    along = _project(_X, _Y, rng.uniform(0, math.pi))
    return np.sin(along * wave + rng.uniform(0, 2 * math.pi))


def _project(x: Array, y: Array, angle: Array) -> Array:
    return x * np.cos(angle) + y * np.sin(angle)


def _rotate(x: Array, y: Array, angle: Array) -> tuple[Array, Array]:
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin


def _rgb(hue: Array, saturation: Array, value: Array) -> Array:
    """HSV to RGB: colors [3, BLOCK, 1] from columns [BLOCK, 1]; hue has period 1."""
    corner = np.array([0, 2 / 3, 1 / 3], np.float32).reshape(3, 1, 1)
    pure = (np.abs((hue + corner) % 1 * 6 - 3) - 1).clip(0, 1)
    return (value * (1 - saturation + saturation * pure)).clip(0, 1)


def _shift(plane: Array) -> Array:
    """Shift by one pixel to the right and down, filling with 0."""
    moved = np.zeros_like(plane).reshape(BLOCK, IMAGE_SIZE, IMAGE_SIZE)
    moved[:, 1:, 1:] = plane.reshape(moved.shape)[:, :-1, :-1]
    return moved.reshape(plane.shape)
