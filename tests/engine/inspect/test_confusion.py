"""Confusion matrix and rates against scikit-learn's, the interval against Wilson's formula."""

import math

import pytest
import torch
from sklearn import metrics

from engine.inspect.confusion import cell, confusion, wilson

CLASSES = ("cat", "dog", "frog")
LABELS = torch.tensor([0, 0, 0, 1, 1, 1])
PREDICTED = torch.tensor([0, 1, 1, 1, 1, 0])


def test_it_is_that_of_scikit_learn():
    found = confusion(LABELS, PREDICTED, CLASSES)
    expected = metrics.confusion_matrix(LABELS, PREDICTED, labels=[0, 1, 2])
    assert found.matrix.tolist() == expected.tolist() == [[1, 2, 0], [1, 2, 0], [0, 0, 0]]
    assert found.accuracy.value == metrics.accuracy_score(LABELS, PREDICTED)


def test_rates_of_a_class():
    cat, dog, frog = confusion(LABELS, PREDICTED, CLASSES).classes
    assert (cat.images, cat.precision, cat.recall) == (3, 1 / 2, 1 / 3)
    assert (dog.images, dog.precision, dog.recall) == (3, 1 / 2, 2 / 3)
    assert (frog.name, frog.images) == ("frog", 0)
    assert math.isnan(frog.precision)
    assert math.isnan(frog.recall)


def test_the_interval_is_wilsons():
    z, n, p = 1.959964, 50, 0.9
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(45, 50) == pytest.approx((p, middle - half, middle + half), abs=1e-6)


def test_a_cell_is_sorted_by_confidence():
    sure = torch.tensor([0.9, 0.6, 0.8, 0.7, 0.9, 0.2])
    probabilities = torch.stack([1 - sure, sure, 0 * sure], 1)
    assert cell(LABELS, probabilities, 0, 1) == [0, 2, 1]
    assert cell(LABELS, probabilities, 1, 0) == [5]
    assert cell(LABELS, probabilities, 2, 2) == []
