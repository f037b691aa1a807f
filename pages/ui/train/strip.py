"""Thumbnails on the Train page: images of the chosen data set before and after augmentation."""

from __future__ import annotations

import streamlit as st
from PIL import Image

from engine import data
from engine.augment import denormalize
from engine.config import AugmentConfig, RunConfig
from engine.errors import ConfigError, DataError
from engine.randomness import Purpose, keyed_generator
from engine.training.prepare import make_pipeline
from pages.ui import choices, folders, readings
from pages.ui.images import contact_sheet
from pages.ui.text import markdown, plain

COUNT = 8


def augmentation_strip() -> None:
    """COUNT training images above the same images, augmented."""
    try:
        config = choices.read(str(folders.DATA_ROOT))
    except ConfigError:
        return
    dataset = config.data.dataset
    if not data.is_available(dataset, folders.DATA_ROOT):
        st.caption("A preview appears once the data set has been downloaded.")
        return
    try:
        readings.split_sizes(config)
    except (ConfigError, DataError):
        return  # the message is beside Start
    try:
        sheet = _sheet(
            dataset, config.data.fit, readings.version(dataset), config.seed, config.augment
        )
    except DataError as error:
        st.error(f"These images cannot be used: {markdown(plain(error))}")
        return
    st.image(
        sheet,
        width="stretch",
        alt="eight training images, and the same images augmented",
    )
    st.caption("Top: training images. Bottom: the same images, augmented as in one training step.")


@st.cache_data(max_entries=64, show_spinner=False)
def _sheet(
    dataset: str, fit: str, changed: tuple[int, ...], seed: int, augment: AugmentConfig
) -> Image.Image:
    info = readings.images(dataset, fit)
    pipeline = make_pipeline(RunConfig(augment=augment), info)
    # Evenly spaced, because images of class folders come class by class.
    indices = [i * (len(info.train_labels) - 1) // (COUNT - 1) for i in range(COUNT)]
    batch, labels = info.train_images[indices], info.train_labels[indices]
    params = pipeline.sample(batch.shape, keyed_generator(seed, Purpose.AUGMENT, 1, 0))
    seen = denormalize(pipeline.apply(batch, labels, params)[0], info.mean, info.std)
    return contact_sheet([*batch, *seen], columns=COUNT, scale=3)
