"""Results that take time: computed once with progress, then kept for the session."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from typing import Any

import streamlit as st

from engine.inspect.predictions import Predictions, predict
from engine.runs.run import State
from pages.ui import folders, process, readings
from pages.ui.inspect.subject import Subject
from pages.ui.weights import Choice

KEPT = 4  # results of each kind in a session
LOOK_S = 2.0  # between readings of the states of all runs


def predictions(subject: Subject) -> Predictions:
    """The network's output for the chosen images. Raises ValueError or OSError."""
    choice, sample = subject.choice, subject.sample
    return once(
        "predictions",
        (str(choice.weights), choice.changed, subject.key),
        lambda: run(choice, sample.images),
        f"{choice.title}: classifying {len(sample):,} images…",
    )


def run(choice: Choice, images: Any) -> Generator[float, None, Predictions]:
    """Predictions of images by a network; see engine.inspect.predictions."""
    return predict(choice.weights, images, folders.DATA_ROOT / "cache" / "inspect", busy=busy())


def once(kind: str, key: Any, start: Callable[[], Generator[float, None, Any]], text: str) -> Any:
    """The result of a generator that yields the share done; of the last few keys it is kept."""
    kept = st.session_state.setdefault(f"inspect_{kind}", {})
    if key in kept:
        return kept[key]
    bar = st.empty()
    steps = start()
    while key not in kept:
        try:
            bar.progress(min(1.0, next(steps)), text)
        except StopIteration as end:
            kept[key] = end.value
    bar.empty()
    while len(kept) > KEPT:
        del kept[next(iter(kept))]
    return kept[key]


def remember(kind: str, key: Any, make: Callable[[], Any], text: str) -> Any:
    """The result of `make`; of the last few keys it is kept."""
    kept = st.session_state.setdefault(f"inspect_{kind}", {})
    if key not in kept:
        with st.spinner(text, show_time=True):
            kept[key] = make()
        while len(kept) > KEPT:
            del kept[next(iter(kept))]
    return kept[key]


def has(kind: str, key: Any) -> bool:
    """Whether `once` would return at once."""
    return key in st.session_state.get(f"inspect_{kind}", {})


def busy() -> Callable[[], bool]:
    """Whether something trains: on this server, or in another process."""
    looked, elsewhere = -math.inf, False

    def trains() -> bool:
        nonlocal looked, elsewhere
        if process.worker().current is not None:
            return True
        if time.monotonic() - looked > LOOK_S:
            looked = time.monotonic()
            elsewhere = any(status.state is State.RUNNING for _, status in readings.statuses())
        return elsewhere

    return trains
