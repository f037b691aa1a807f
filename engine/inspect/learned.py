"""How training came to its result: which images were learned when, and which were lost again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.runs.history import UNKNOWN


@dataclass(frozen=True)
class Learned:
    """History of each of N validation images over a run's epochs."""

    first: np.ndarray  # int64 [N]: first epoch, from 1, in which it was right; 0: never
    since: np.ndarray  # int64 [N]: epoch from which on it stayed right; 0: wrong in the last one
    lost: np.ndarray  # int64 [N]: number of times that it was right, and wrong an epoch later

    def earliest(self) -> list[int]:
        """Indices of images that are right in the end, those that stayed right longest first."""
        return [i for i in np.argsort(self.since, kind="stable").tolist() if self.since[i]]

    def forgotten(self) -> list[int]:
        """Indices of the images that were lost again, most often first."""
        return [i for i in np.argsort(-self.lost, kind="stable").tolist() if self.lost[i]]

    def never(self) -> list[int]:
        """Indices of the images that were right in no epoch."""
        return np.flatnonzero(self.first == 0).tolist()


def learned(predicted: np.ndarray, labels: np.ndarray) -> Learned:
    """From the predictions of each epoch, uint8 [epochs, N], and the labels [N].

    predicted: see engine.runs.history; epochs of which nothing is known are passed over.

    Forgetting as Toneva et al. 2019, arXiv 1812.05159, count it, but on validation images. Raises
    ValueError if there is no epoch, or if the numbers of images differ.
    """
    if predicted.ndim != 2 or predicted.shape[1] != len(labels):
        raise ValueError(f"need [epochs, {len(labels)}] predictions, not {list(predicted.shape)}")
    known = (predicted != UNKNOWN).any(1)
    epochs = np.flatnonzero(known) + 1
    if not len(epochs):
        raise ValueError("no epoch's predictions are known")
    right = predicted[known] == np.asarray(labels)
    stays = np.logical_and.accumulate(right[::-1])[::-1]  # right from here on
    return Learned(
        first=np.where(right.any(0), epochs[right.argmax(0)], 0),
        since=np.where(right[-1], epochs[stays.argmax(0)], 0),
        lost=(right[:-1] & ~right[1:]).sum(0),
    )
