"""Pictures to classify: uploads, decoded once per session, and random test images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from engine import data
from engine.config import FITS
from engine.errors import DataError
from engine.predict import decode_image, to_input
from pages.ui import folders, readings
from pages.ui.classify.cards import SMALL, THUMB, Picture, data_address
from pages.ui.classify.networks import Choice, dataset_title
from pages.ui.text import plain, shown_name

MAX_PICTURES = 64  # per upload
DRAWN = 12  # test images per draw


def read_upload(name: str, content: bytes) -> Picture:
    """Decode an uploaded file. Raises DataError with the reason for refusing it."""
    image = decode_image(content)
    (width, height), frames = image.info["size"], image.info["frames"]
    about = f"{width}×{height} pixels"
    if frames > 1:
        about += f", the first of {frames} pictures in the file"
    if image.info["dark_bits"]:
        about += f", dark: its values use {image.info['dark_bits']} of 16 bits"
    inputs = {fit: to_input(image, fit).numpy() for fit in FITS}
    small = max(image.size) <= SMALL
    image.thumbnail((THUMB, THUMB))
    thumb = data_address(image, "PNG" if small else "JPEG")
    return Picture(shown_name(name), about, thumb, small, inputs)


def read_uploads(
    files: list[Any], progress: Callable[[int, int], None]
) -> tuple[list[Picture], list[tuple[str, str]]]:
    """(pictures, [(shown name, reason for refusal)]); each file is decoded once per session."""
    kept = st.session_state.setdefault("classify_read", {})
    for gone in kept.keys() - {file.file_id for file in files}:
        del kept[gone]
    for index, file in enumerate(files):
        if file.file_id not in kept:
            progress(index, len(files))
            try:
                kept[file.file_id] = read_upload(file.name, file.getvalue())
            except DataError as error:
                kept[file.file_id] = (shown_name(file.name), plain(error))
    found = [kept[file.file_id] for file in files]
    pictures = [item for item in found if isinstance(item, Picture)]
    return pictures, [item for item in found if not isinstance(item, Picture)]


def forget_uploads() -> None:
    """Drop the decoded uploads of this session."""
    st.session_state.pop("classify_read", None)


def draw_tests(choice: Choice, draw: int) -> list[Picture]:
    """Random test images of the data set that the network was trained on; seed: `draw`.

    Raises DataError if they are not on this computer; does not download them.
    """
    trained_on = choice.run.config().data
    dataset = trained_on.dataset
    if not data.is_available(dataset, folders.DATA_ROOT):
        raise DataError(
            f"The test images of {dataset_title(data.name_of(dataset))} are not on this computer. "
            "Download them on Home, or upload your own pictures."
        )
    images = readings.images(dataset, trained_on.fit)
    count = len(images.test_labels)
    indices = np.random.default_rng(draw).choice(count, min(DRAWN, count), replace=False)
    return [_test_picture(images, int(i)) for i in indices]


def _test_picture(images: data.ImageData, index: int) -> Picture:
    pixels = images.test_images[index].numpy()
    truth = images.classes[int(images.test_labels[index])]
    return Picture(f"Test image {index}", "", "", True, dict.fromkeys(FITS, pixels), truth)
