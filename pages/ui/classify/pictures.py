"""Pictures to classify: uploads, decoded once per session, and random test images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import streamlit as st
from PIL import Image

from engine import data
from engine.errors import DataError
from engine.inputs import FITS
from engine.predict import decode_image, to_input
from pages.ui import folders, readings
from pages.ui.classify import edits
from pages.ui.classify.cards import SMALL, THUMB, Picture, data_address
from pages.ui.classify.edits import UNCHANGED, Edit
from pages.ui.scenes import SCENES
from pages.ui.text import plain, shown_name
from pages.ui.weights import Choice, dataset_title

MAX_PICTURES = 64  # per upload
DRAWN = 12  # test images per draw


@dataclass(frozen=True)
class File:
    """A picture to read: an upload, or one that this app offers."""

    file_id: str
    name: str
    read: Callable[[], bytes]
    about: str = ""  # where it is from
    truth: str = ""  # its class


def read_upload(
    name: str, content: bytes, about: str = "", truth: str = "", edit: Edit = UNCHANGED
) -> Picture:
    """Decode a picture's file, and rotate and crop it. Raises DataError with the reason.

    about, truth: see File.
    """
    image = decode_image(content, edit.square and edit.square.side)
    (width, height), frames = image.info["size"], image.info["frames"]
    about = f"{about}, {width}×{height} pixels".removeprefix(", ")
    if frames > 1:
        about += f", the first of {frames} pictures in the file"
    if image.info["dark_bits"]:
        about += f", dark: its values use {image.info['dark_bits']} of 16 bits"
    about += edit.describe()
    image = edits.turn(image, edit)
    size = (height, width) if edit.turns % 2 else (width, height)
    square, cropped = edit.square, image
    if square:
        cropped = edits.crop(image, square, size[0])
    small = max(image.size) <= SMALL
    return Picture(
        shown_name(name),
        about,
        _thumb(edits.outlined(image, square, size[0], THUMB) if square else image),
        small and not square,
        {fit: to_input(cropped, fit).numpy() for fit in FITS},
        truth,
        square=_thumb(cropped) if square else "",
        size=size,
        edit=edit,
    )


def _thumb(image: Image.Image) -> str:
    """An image in a small size, as a data: URL."""
    small = max(image.size) <= SMALL
    image = image.copy()
    image.thumbnail((THUMB, THUMB))
    return data_address(image, "PNG" if small else "JPEG")


def read_uploads(
    files: list[File], progress: Callable[[int, int], None]
) -> tuple[list[Picture], list[tuple[str, str]]]:
    """(pictures, [(shown name, reason for refusal)]); each is decoded once for each edit of it."""
    kept = st.session_state.setdefault("classify_read", {})
    edited = st.session_state.setdefault("classify_edits", {})
    for gone in kept.keys() - {file.file_id for file in files}:
        del kept[gone]
        edited.pop(gone, None)
    for index, file in enumerate(files):
        edit = edited.get(file.file_id, UNCHANGED)
        if file.file_id not in kept or kept[file.file_id][0] != edit:
            progress(index, len(files))
            kept[file.file_id] = edit, _read(file, edit)
    found = [kept[file.file_id][1] for file in files]
    pictures = [item for item in found if isinstance(item, Picture)]
    return pictures, [item for item in found if not isinstance(item, Picture)]


def _read(file: File, edit: Edit) -> Picture | tuple[str, str]:
    try:
        picture = read_upload(file.name, file.read(), file.about, file.truth, edit)
        return dataclasses.replace(picture, key=file.file_id)
    except DataError as error:
        return shown_name(file.name), plain(error)


def forget_uploads() -> None:
    """Drop the decoded uploads of this session, and what was done to them."""
    st.session_state.pop("classify_read", None)
    st.session_state.pop("classify_edits", None)


def test_data(choice: Choice, classes: tuple[str, ...]) -> str | None:
    """The data set of the network, or one with the same images; None if none is here."""
    alike = ["cifar10"] if classes == tuple(SCENES) else []
    for dataset in (choice.run.config().data.dataset, *alike):
        if data.is_available(dataset, folders.DATA_ROOT):
            return dataset
    return None


def draw_tests(choice: Choice, classes: tuple[str, ...], draw: int) -> tuple[list[Picture], str]:
    """Random test images for a network of these classes, seed `draw`, and what is told of them.

    A sentence if they are not of the images that the network was trained on. Raises DataError if
    they are not on this computer; does not download them.
    """
    trained_on, dataset = choice.run.config().data, test_data(choice, classes)
    if dataset is None:
        raise DataError(
            f"The test images of {dataset_title(data.name_of(trained_on.dataset))} are not on this "
            "computer. Download them on Home, or upload your own pictures."
        )
    images = readings.images(dataset, trained_on.fit)
    count = len(images.test_labels)
    indices = np.random.default_rng(draw).choice(count, min(DRAWN, count), replace=False)
    found = [_test_picture(images, int(i)) for i in indices]
    return found, readings.other_images(choice.run, images)


def _test_picture(images: data.ImageData, index: int) -> Picture:
    pixels = images.test_images[index].numpy()
    truth = images.classes[int(images.test_labels[index])]
    inputs = dict.fromkeys(FITS, pixels)
    return Picture(f"Test image {index}", "", "", True, inputs, truth, key=f"test_{index}")
