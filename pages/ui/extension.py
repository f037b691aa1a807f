"""The form that extends a run: how many epochs, and what they will be."""

from __future__ import annotations

import streamlit as st

from engine import advice
from engine.config import RunConfig
from engine.data import batches
from engine.errors import ConfigError, RunError
from engine.runs.extend import describe_schedule, extension
from engine.runs.run import Run
from pages.ui import readings
from pages.ui.text import markdown


def extend_form(run: Run) -> None:
    """Ask for the number of epochs to add; show their learning rate, and warnings."""
    epochs = st.number_input(
        "Epochs to add", min_value=1, value=5, step=1, key="extend_epochs", persist_state="session"
    )
    try:
        config = extension(run, epochs)
        images = train_images(run, config)
    except (ConfigError, RunError) as error:
        st.error(markdown(str(error)))
        return
    word = "epoch" if epochs == 1 else "epochs"
    st.caption(
        f"Starts a new run from the last weights of this one. Learning rate: "
        f"{describe_schedule(config)}, over {epochs} {word}."
    )
    for warning in advice.warnings(config, images):
        st.warning(warning[0].upper() + warning[1:])


def train_images(run: Run, config: RunConfig) -> int | None:
    """Number of training images per epoch; None where an older run does not tell."""
    prints = (readings.dataset_info(run) or {}).get("fingerprint") or {}
    counts = [prints.get(split, {}).get("count") for split in ("train", "test")]
    if not all(counts):
        return None
    choice = config.data
    return batches.split_sizes(*counts, holdout=choice.holdout, limit=choice.limit)[0]
