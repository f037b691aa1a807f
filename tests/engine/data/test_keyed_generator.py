"""Keyed generators: a function of the key, different for different keys."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.randomness import Purpose, keyed_generator

PARTS = st.lists(st.integers(0, 2**64 - 1), max_size=5)


def numbers(*key):
    return torch.randint(2**31, (4,), generator=keyed_generator(*key)).tolist()


@given(PARTS)
def test_one_key_one_stream_whatever_the_global_generator_does(key):
    before = torch.random.get_rng_state()
    assert numbers(*key) == numbers(*key)
    assert torch.equal(before, torch.random.get_rng_state())


@given(PARTS, PARTS)
def test_different_keys_differ(first, second):
    if first != second:
        assert numbers(*first) != numbers(*second)


def test_keys_that_a_plain_seed_sequence_would_merge_differ():
    # Zero padding, and large integers next to the words that they are split into.
    keys = [(), (0,), (0, 0), (1,), (1, 0), (0, 1), (5, 7 * 2**32 + 1), (5 + 2**32, 7), (5, 1, 7)]
    for first, second in itertools.combinations(keys, 2):
        assert numbers(*first) != numbers(*second), (first, second)


@pytest.mark.parametrize("part", [-1, 2**64])
def test_a_part_out_of_range_is_refused(part):
    with pytest.raises(ValueError, match="random key"):
        keyed_generator(0, part)


def test_the_purposes_are_numbered_apart_and_for_good():
    assert [(p.name, p.value) for p in Purpose][:8] == [
        ("PERMUTATION", 1),
        ("AUGMENT", 2),
        ("SPLIT", 3),
        ("SHAPES", 4),
        ("FLIP", 5),
        ("WHITENING", 6),
        ("SAMPLE", 7),
        ("CLASSIFIER", 8),
    ]
    assert len({p.value for p in Purpose}) == len(Purpose.__members__)
