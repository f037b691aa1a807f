"""Two networks: the table, McNemar's exact test, and its sentence."""

import pytest
import torch
from scipy.stats import binom

from engine.inspect.compare import Comparison, compare

LABELS = torch.zeros(20, dtype=torch.long)


def predictions(*wrong):
    found = LABELS.clone()
    found[list(wrong)] = 1
    return found


def test_the_table_and_the_test():
    a, b = predictions(0, 1), predictions(1, 2, 3, 4, 5, 6, 7, 8)
    found = compare(LABELS, a, b)
    assert (found.both_right, found.only_a, found.only_b, found.both_wrong) == (11, 7, 1, 1)
    assert found.p_value == pytest.approx(2 * binom.cdf(1, 8, 0.5))


def test_equal_networks():
    found = compare(LABELS, predictions(3), predictions(3))
    assert found.p_value == 1
    assert "no difference shown" in found.sentence()


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        (
            (312, 287, 0.33),
            "A is right where B is wrong on 312 images, the reverse on 287: "
            "no difference shown on these pictures, p = 0.33",
        ),
        (
            (1, 1200, 1e-9),
            "A is right where B is wrong on 1 image, the reverse on 1,200: "
            "B is better on these pictures, p < 0.001",
        ),
    ],
)
def test_the_sentence(counts, expected):
    only_a, only_b, p = counts
    assert Comparison(5, only_a, only_b, 6, p).sentence() == expected
