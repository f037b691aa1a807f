"""Splits and epoch orders: disjoint, complete, and functions of the seed."""

import pytest
import torch

from engine.data.batches import epoch_permutation, split, split_indices
from engine.data.types import ImageData
from engine.errors import ConfigError


@pytest.fixture
def data():
    """50 training images; the first pixel of each is its index."""
    images = torch.zeros(50, 3, 32, 32, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(50)
    test = torch.full((7, 3, 32, 32), 200, dtype=torch.uint8)
    labels = torch.arange(50) % 5
    half = (0.5, 0.5, 0.5)
    return ImageData("d", tuple("abcde"), half, half, images, labels, test, torch.zeros(7).long())


def ids(images):
    return images[:, 0, 0, 0].tolist()


def test_without_holdout_the_test_images_validate(data):
    parts = split(data)
    assert parts.val_is_test
    assert torch.equal(parts.train_images, data.train_images)
    assert torch.equal(parts.train_labels, data.train_labels)
    assert torch.equal(parts.val_images, data.test_images)
    assert torch.equal(parts.val_labels, data.test_labels)


def test_holdout_and_limit_are_disjoint_and_keep_image_with_label(data):
    parts = split(data, holdout=12, limit=20, seed=3)
    train, val = ids(parts.train_images), ids(parts.val_images)
    assert not parts.val_is_test
    assert (len(set(train)), len(set(val))) == (20, 12)
    assert not set(train) & set(val)
    assert parts.train_labels.tolist() == [i % 5 for i in train]
    assert parts.val_labels.tolist() == [i % 5 for i in val]
    assert parts.train_images.dtype == torch.uint8 and parts.train_labels.dtype == torch.int64


def test_the_choice_depends_on_the_seed_alone(data):
    torch.manual_seed(1)
    first = split(data, holdout=12, limit=20, seed=3)
    torch.manual_seed(2)
    again = split(data, holdout=12, limit=20, seed=3)
    other = split(data, holdout=12, limit=20, seed=4)
    assert ids(first.train_images) == ids(again.train_images)
    assert ids(first.val_images) == ids(again.val_images)
    assert ids(first.train_images) != ids(other.train_images)


def test_a_larger_limit_contains_a_smaller_one(data):
    small = ids(split(data, limit=5, seed=1).train_images)
    large = ids(split(data, limit=9, seed=1).train_images)
    assert len(small) == 5 and set(small) < set(large)


def test_a_limit_beyond_the_data_takes_all(data):
    assert len(split(data, limit=500).train_labels) == 50
    assert len(split(data, holdout=10, limit=500).train_labels) == 40


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"holdout": 50}, "data.holdout"),
        ({"holdout": -1}, "data.holdout"),
        ({"limit": 0}, "data.limit"),
        ({"limit": -3}, "data.limit"),
    ],
)
def test_what_leaves_nothing_names_the_field(data, settings, field):
    with pytest.raises(ConfigError) as error:
        split(data, **settings)
    assert error.value.field == field


def test_one_image_may_be_left(data):
    assert len(split(data, holdout=49).train_labels) == 1


def test_epoch_permutation_is_a_permutation_keyed_by_seed_and_epoch():
    first = epoch_permutation(100, 0, 0)
    assert first.dtype == torch.int64
    assert sorted(first.tolist()) == list(range(100))
    torch.rand(3)  # the global generator does not matter
    assert torch.equal(first, epoch_permutation(100, 0, 0))
    assert not torch.equal(first, epoch_permutation(100, 0, 1))
    assert not torch.equal(first, epoch_permutation(100, 1, 0))


SIZES = [600, 300, 60, 30, 9, 1]  # images of each class


@pytest.fixture
def labels():
    """Labels in the order of their classes, as class folders come."""
    return torch.repeat_interleave(torch.arange(len(SIZES)), torch.tensor(SIZES))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("holdout", [0, 1, 7, 100, 500])
@pytest.mark.parametrize("limit", [None, 6, 50, 400])
def test_every_class_gives_its_share(labels, holdout, limit, seed):
    held, kept = split_indices(labels, holdout=holdout, limit=limit, seed=seed)
    left = torch.tensor(SIZES) - labels[held].bincount(minlength=len(SIZES))
    for chosen, sizes in ((held, torch.tensor(SIZES)), (kept, left)):
        shares = sizes * len(chosen) / sizes.sum()
        counts = labels[chosen].bincount(minlength=len(SIZES))
        if len(chosen) > len(SIZES):
            assert (counts - shares).abs().max() <= 1.5
    assert (left > 0).all()
    assert (labels[kept].bincount(minlength=len(SIZES)) > 0).all()
    assert not {*held.tolist()} & {*kept.tolist()}


def test_classes_of_one_size_give_the_same_number():
    labels = torch.arange(5000) % 10
    held, kept = split_indices(labels, holdout=500, limit=1000, seed=2)
    assert labels[held].bincount().tolist() == [50] * 10
    assert labels[kept].bincount().tolist() == [100] * 10
    other, _ = split_indices(labels, holdout=500, limit=1000, seed=3)
    assert not torch.equal(held, other)


@pytest.mark.parametrize("seed", range(3))
def test_more_held_out_images_contain_fewer(labels, seed):
    few, many = (split_indices(labels, holdout=h, limit=9, seed=seed)[0] for h in (99, 100))
    assert {*few.tolist()} < {*many.tolist()}


def test_almost_everything_can_be_held_out(labels):
    held, kept = split_indices(labels, holdout=999, limit=None, seed=0)
    assert (len(held), len(kept)) == (999, 1)


AVOID = torch.arange(30) % 3 == 0
GOLDEN = {  # (holdout, limit, seed, avoid): indices of the version before stratified splits
    (7, 9, 3, None): ([5, 7, 8, 10, 12, 13, 16], [3, 4, 11, 15, 17, 18, 20, 22, 24]),
    (12, None, 5, None): (
        [0, 1, 2, 3, 8, 9, 13, 14, 17, 18, 19, 22],
        [4, 5, 6, 7, 10, 11, 12, 15, 16, 20, 21, 23, 24, 25, 26, 27, 28, 29],
    ),
    (22, 6, 3, AVOID): (
        [1, 2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 16, 17, 19, 20, 22, 23, 25, 26, 28, 29],
        [0, 6, 15, 18, 24, 27],
    ),
}


@pytest.mark.parametrize("case", GOLDEN, ids=str)
def test_the_split_of_older_versions_is_kept(case):
    holdout, limit, seed, avoid = case
    parts = split_indices(
        torch.arange(30) % 4,
        holdout=holdout,
        limit=limit,
        seed=seed,
        avoid=avoid,
        stratified=False,
    )
    assert tuple(part.tolist() for part in parts) == GOLDEN[case]
