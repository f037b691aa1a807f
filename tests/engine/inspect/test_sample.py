"""Samples of a split: which images, in which order."""

import torch

from engine.inspect.sample import sample

IMAGES = torch.arange(50, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)
LABELS = torch.arange(50) % 5


def test_a_sample_names_the_images_of_the_split():
    found = sample(IMAGES, LABELS, 20)
    assert len(found) == 20 and found.total == 50
    assert list(found.numbers) == sorted(set(found.numbers))
    assert found.images[:, 0, 0, 0].tolist() == list(found.numbers)
    assert found.labels.tolist() == [number % 5 for number in found.numbers]


def test_the_same_images_each_time_and_others_with_another_seed():
    assert sample(IMAGES, LABELS, 20).numbers == sample(IMAGES, LABELS, 20).numbers
    assert sample(IMAGES, LABELS, 20).numbers != sample(IMAGES, LABELS, 20, seed=1).numbers


def test_all_images_where_there_are_no_more():
    for size in (None, 50, 60):
        found = sample(IMAGES, LABELS, size)
        assert found.numbers == tuple(range(50)) and found.total == 50
