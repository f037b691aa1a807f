"""Why accuracy on training images differs from the other, and its measurement on clean ones."""

from __future__ import annotations

import streamlit as st

from engine import data
from engine.predict import CLEAN_IMAGES
from engine.runs.run import Run
from pages.ui import folders, readings
from pages.ui.text import markdown, percent, plain


def accuracy(run: Run) -> None:
    """Train accuracy without augmentation, measured on request."""
    config, weights = readings.config_of(run), run.path / "last.safetensors"
    if config is None or not weights.is_file():
        return
    with st.expander("Why do the two accuracies differ?", key="why_they_differ"):
        kinds = ("crop", "flip", "erasing", "mixup", "cutmix")
        used = [name for name in kinds if getattr(config.augment, name)]
        st.write(
            "Accuracy on training images is measured during the epoch, while the network is still "
            f"learning, on augmented images ({', '.join(used)}). Accuracy on test or held-out "
            "images is measured after the "
            "epoch, on images without augmentation."
            if used
            else "Accuracy on training images is measured during the epoch, while the network is "
            "still learning; accuracy on test or held-out images is measured after it."
        )
        if not data.is_available(config.data.dataset, folders.DATA_ROOT):
            st.caption(
                "The comparison without augmentation needs the data set, which is not on "
                "this computer."
            )
            return
        version, form = (str(run.path), weights.stat().st_mtime_ns), st.session_state
        asked = st.button("Measure on clean training images", key="clean")
        if asked or form.get("measured") == version:
            form["measured"] = version
            try:
                measured = readings.clean_train_accuracy(run, config.data)
                images = readings.images(config.data.dataset, config.data.fit)
            except (ValueError, OSError, RuntimeError) as error:
                form["measured"] = None
                st.warning(f"This accuracy cannot be measured: {markdown(plain(error))}")
                return
            st.write(
                f"**{percent(measured)}** on up to {CLEAN_IMAGES:,} clean training "
                "images, with the last saved weights."
            )
            if told := readings.other_images(run, images):
                st.warning(markdown(told))
