"""Histories of images: learned, kept and lost."""

import numpy as np
import pytest

from engine.inspect.learned import learned

#         always, late, lost and found, lost at last, never
EPOCHS = np.array(
    [[0, 1, 0, 0, 1], [0, 1, 1, 0, 1], [0, 0, 0, 1, 1]],
    dtype=np.uint8,
)


def test_histories():
    found = learned(EPOCHS, np.zeros(5, dtype=np.int64))
    assert found.first.tolist() == [1, 3, 1, 1, 0]
    assert found.since.tolist() == [1, 3, 3, 0, 0]
    assert found.lost.tolist() == [0, 0, 1, 1, 0]
    assert found.earliest() == [0, 1, 2]
    assert found.forgotten() == [2, 3]
    assert found.never() == [4]


def test_unknown_epochs_are_passed_over():
    unknown = np.full((2, 5), 255, dtype=np.uint8)
    found = learned(np.concatenate([unknown, EPOCHS]), np.zeros(5, dtype=np.int64))
    assert found.first.tolist() == [3, 5, 3, 3, 0]
    assert found.since.tolist() == [3, 5, 5, 0, 0]


@pytest.mark.parametrize(
    ("predicted", "message"), [(EPOCHS[:0], "no epoch"), (EPOCHS[:, :4], "need")]
)
def test_predictions_that_do_not_fit(predicted, message):
    with pytest.raises(ValueError, match=message):
        learned(predicted, np.zeros(5))
