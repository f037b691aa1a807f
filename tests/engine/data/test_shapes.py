"""The built-in data set: reproducible, balanced, and not separable by color."""

import threading

import numpy as np
import pytest
import torch

from engine.data import load, shapes
from engine.data.outlines import OUTLINES
from engine.data.progress import Watch
from engine.errors import Cancelled


@pytest.fixture(scope="module")
def small():
    return shapes.make(Watch(), train=400, test=200)


def test_layout_classes_and_statistics(small):
    assert small.classes == tuple(sorted(OUTLINES)) and len(small.classes) == 10
    assert small.train_images.shape == (400, 3, 32, 32)
    assert small.train_images.dtype == torch.uint8
    assert small.train_labels.dtype == torch.int64
    assert small.train_labels.bincount().tolist() == [40] * 10
    assert small.test_labels.bincount().tolist() == [20] * 10
    pixels = small.train_images.double() / 255
    assert small.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist())
    assert small.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist())


def test_two_generations_are_identical_whatever_else_draws_random_numbers(small):
    np.random.seed(5)
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    again = shapes.make(Watch(), train=400, test=200)
    assert torch.equal(torch.random.get_rng_state(), state)
    for name in ("train_images", "train_labels", "test_images", "test_labels"):
        assert torch.equal(getattr(small, name), getattr(again, name)), name


@pytest.mark.parametrize("count", [1, 99, 100, 101, 399])
def test_fewer_images_are_the_first_of_more(small, count):
    images, labels = shapes.draw(count, shapes.SEED, 0, Watch())
    assert torch.equal(images, small.train_images[:count])
    assert torch.equal(labels, small.train_labels[:count])


def test_the_number_of_threads_changes_nothing(small, monkeypatch):
    monkeypatch.setattr(shapes, "THREADS", 1)
    images, _ = shapes.draw(400, shapes.SEED, 0, Watch())
    assert torch.equal(images, small.train_images)


def test_no_image_comes_twice_and_seeds_differ(small):
    every = torch.cat([small.train_images, small.test_images])
    assert len(every.flatten(1).unique(dim=0)) == len(every)
    other, _ = shapes.draw(100, 1, 0, Watch())
    assert not torch.equal(other, small.train_images[:100])


def test_the_mean_color_does_not_depend_on_the_class(small):
    """Up to sampling error."""
    colors = small.train_images.double().mean((2, 3))
    for label in range(10):
        mean = colors[small.train_labels == label].mean(0)
        assert (mean - colors.mean(0)).abs().max() < 35  # of 255; about four standard errors


@pytest.mark.parametrize("name", OUTLINES)
def test_each_outline_fills_a_good_part_of_its_disc_and_stays_near_it(name):
    axis = np.linspace(-1.5, 1.5, 301)
    x, y = np.meshgrid(axis, axis)
    inside = OUTLINES[name](x, y) < 0
    assert 0.25 < inside.sum() * (3 / 300) ** 2 / np.pi < 0.95
    assert np.hypot(x, y)[inside].max() < 1.2


def test_loading_again_reads_the_cache(tmp_path, monkeypatch):
    draw = shapes.make
    monkeypatch.setattr(shapes, "make", lambda watch: draw(watch, train=200, test=100))
    first = load("shapes", tmp_path)
    monkeypatch.setattr(shapes, "draw", None)  # any further drawing would fail
    again = load("shapes", tmp_path)
    assert torch.equal(first.train_images, again.train_images)
    assert again.name == "shapes" and again.classes == first.classes


def test_drawing_can_be_cancelled_and_leaves_nothing(tmp_path):
    asked = threading.Event()
    with pytest.raises(Cancelled):
        load("shapes", tmp_path, progress=lambda _: asked.set(), cancelled=asked.is_set)
    assert not list(tmp_path.rglob("*.safetensors*"))
