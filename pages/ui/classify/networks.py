"""Networks for classification, cached, and their predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import streamlit as st

from engine.predict import Predictor, top_k
from engine.runs import temperature
from pages.ui.classify.cards import Answer, Picture, could_be
from pages.ui.weights import Choice


@st.cache_resource(max_entries=4, show_spinner="Loading the network…")
def predictor(weights: str, changed: tuple[int, int], calibrated: tuple | None) -> Predictor:
    """The network in a file, loaded again if it or its temperature has changed."""
    return Predictor.load(Path(weights))


@dataclass(frozen=True)
class Ready:
    """A choice with its network in memory, which works even after its files are deleted."""

    choice: Choice
    predictor: Predictor

    @property
    def classes(self) -> tuple[str, ...]:
        return self.predictor.classes

    @property
    def temperature(self) -> float | None:
        """Of the probabilities; None if they are not calibrated."""
        return self.predictor.temperature

    def answers(self, pictures: list[Picture], fit: str, k: int) -> list[Answer]:
        """The network's k most likely classes for each picture, calibrated if it can be."""
        if not pictures:
            return []
        batch = np.stack([picture.inputs[fit] for picture in pictures])
        version = (str(self.choice.weights), self.choice.changed, self.temperature)
        probabilities = _probabilities(version, batch, self.predictor)
        rows = top_k(probabilities, self.classes, len(self.classes))
        return [
            Answer(self.choice.title, row[:k], self.classes, tuple(could_be(row))) for row in rows
        ]


def load(choice: Choice) -> Ready:
    """Load a network. Raises ValueError or OSError if the file is missing or does not fit."""
    try:
        about = temperature.path_of(choice.weights).stat()
        calibrated = (about.st_mtime_ns, about.st_size)
    except OSError:
        calibrated = None
    return Ready(choice, predictor(str(choice.weights), choice.changed, calibrated))


# The key covers every pixel: of large arrays, Streamlit hashes only a random sample.
@st.cache_data(max_entries=64, show_spinner=False, hash_funcs={np.ndarray: np.ndarray.tobytes})
def _probabilities(version: tuple, batch: np.ndarray, _predictor: Predictor) -> np.ndarray:
    """float32 [N, classes] of uint8 [N, 3, 32, 32]. version: of the predictor."""
    return _predictor.probabilities(batch, calibrated=True)
