"""Data sets on which a network can be inspected: those that are here and have its classes."""

from __future__ import annotations

import streamlit as st

from engine import data
from engine.data import ImageData, shapes
from engine.errors import DataError
from engine.runs.compare import data_differences
from pages.ui import folders, readings
from pages.ui.weights import Choice, dataset_title


def fitting(choice: Choice) -> list[str]:
    """Keys and paths of data sets with the network's classes; the built-in one first."""
    info = readings.dataset_info(choice.run)
    if info is None:
        return []
    classes = tuple(info["classes"])
    own = own_dataset(choice)
    found = [name for name in data.DATASETS if _is_here(name) and _classes(name, classes)]
    if own and own not in found and _is_here(own):
        found.append(own)
    for run in readings.list_runs(folders.RUN_ROOT):
        config, about = readings.config_of(run), readings.dataset_info(run)
        if config and about and tuple(about["classes"]) == classes:
            name = config.data.dataset
            if name not in found and _is_here(name):
                found.append(name)
    return found


def own_dataset(choice: Choice) -> str | None:
    """The data set that the network was trained on; None if that is not known."""
    config = readings.config_of(choice.run)
    return config.data.dataset if config else None


def is_own(choice: Choice, images: ImageData, dataset: str) -> bool:
    """Whether the network was trained on this data set, wherever it lies.

    Images that were changed since are others, even in the same place.
    """
    info = readings.dataset_info(choice.run) or {}
    if info.get("fingerprint"):
        return not data_differences(info, images.describe())
    return dataset == own_dataset(choice)  # an older run: it is known by its place alone


def load(dataset: str, choice: Choice) -> ImageData:
    """The images of a data set. Raises DataError if its classes are not the network's."""
    config = readings.config_of(choice.run)
    images = readings.images(dataset, config.data.fit if config else "crop")
    known = tuple((readings.dataset_info(choice.run) or {}).get("classes", ()))
    if images.classes != known:
        named = ", ".join(images.classes[:5]) + (", …" if len(images.classes) > 5 else "")
        raise DataError(
            f"The classes of {title(dataset)} ({named}) are not those of {choice.title}; "
            "choose data with the classes that the network knows."
        )
    return images


def title(dataset: str) -> str:
    return dataset_title(data.name_of(dataset))


@st.cache_data(ttl=5, max_entries=64, show_spinner=False)
def _is_available(dataset: str, root: str) -> bool:
    return data.is_available(dataset, folders.DATA_ROOT)


def _is_here(dataset: str) -> bool:
    return _is_available(dataset, str(folders.DATA_ROOT))


def _classes(name: str, wanted: tuple[str, ...]) -> bool:
    """Whether a data set of DATASETS has these classes; its images are read only if it may."""
    if data.DATASETS[name].num_classes != len(wanted) or wanted == shapes.CLASSES:
        return name == "shapes" and wanted == shapes.CLASSES
    try:
        return name != "shapes" and readings.images(name).classes == wanted
    except (DataError, OSError):  # reported where the images are used
        return False
