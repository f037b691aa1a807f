"""Cached readings of runs and their records, of data sets, and of what networks cost."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from engine import data, predict, runs
from engine.config import DataConfig, RunConfig
from engine.data import ImageData, background, batches
from engine.device import resolve
from engine.errors import DataError, DataPending, RunError
from engine.runs import compare
from engine.runs.run import HELD, Run, State, Status
from engine.training import initial
from pages.ui import folders

SAMPLES = 10
PATIENCE_S = 10.0  # for which a page waits for the import of one's own images …
PENDING_S = 0.2  # … and when drawn again while it goes on
LIVE = (State.QUEUED, *HELD)
UNWATCHED = (
    "this folder is large: files that are added, removed or changed are noticed when a run starts, "
    "not on this page"
)


def list_runs(root: Path) -> list[Run]:
    """Every run, newest first; none, with a message, if the folder of runs cannot be read."""
    try:
        return runs.list_runs(root)
    except RunError as error:
        st.error(str(error))
        return []


def statuses() -> list[tuple[Run, Status]]:
    """Every run with its status, newest first."""
    pairs = ((run, status_of(run)) for run in list_runs(folders.RUN_ROOT))
    return [(run, status) for run, status in pairs if status is not None]


def status_of(run: Run) -> Status | None:
    """A run's status, or None when it was deleted meanwhile.

    A run that is not live is damaged if its config cannot be read.
    """
    try:
        status = run.status()
    except RunError:
        return None
    if config_of(run) is None and status.state not in LIVE:
        return dataclasses.replace(status, state=State.DAMAGED)
    return status


def shipped_networks() -> list[Run]:
    """The networks in the box, the most accurate first; those of the built-in shapes last."""

    def key(run: Run) -> tuple[bool, float, str]:
        status = status_of(run) or Status()
        about = dataset_info(run) or {}
        return about.get("name") == "shapes", -(status.final_acc or 0), run.name

    return sorted(list_runs(folders.SHIPPED), key=key)


def find_run(name: str | None) -> Run | None:
    """The run of that name, be it damaged, or None."""
    try:
        return runs.find_run(folders.RUN_ROOT, name) if name else None
    except ValueError:
        return None


def config_of(run: Run) -> RunConfig | None:
    """A run's config, parsed again only when its file changed; None when it cannot be read."""
    return _about(run)[0]


def dataset_info(run: Run) -> dict[str, Any] | None:
    """What a run keeps of its data set; None before it was loaded, or when it cannot be read."""
    return _about(run)[1]


def _about(run: Run) -> tuple[RunConfig | None, dict[str, Any] | None]:
    try:
        return _config(run.path, (run.path / "config.json").stat().st_mtime_ns)
    except (OSError, ValueError):
        return None, None


# Not Streamlit's cache, which would copy and check each of a thousand at every rerun of the table.
@functools.lru_cache(maxsize=4_000)
def _config(path: Path, changed: int) -> tuple[RunConfig, dict[str, Any] | None]:
    return Run(path).config(), Run(path).dataset_info()


def images(dataset: str, fit: str = "crop") -> ImageData:
    """A data set that is here already; never downloads. Read again when it changed."""
    return _images(dataset, fit, version(dataset))


@st.cache_resource(max_entries=2, show_spinner="Reading the images…")
def _images(dataset: str, fit: str, version: tuple[int, ...]) -> ImageData:
    if dataset not in data.DATASETS:
        _await_import(dataset, fit)
    return data.load(dataset, folders.DATA_ROOT, fit=fit)


def _await_import(dataset: str, fit: str) -> None:
    """Import one's own images in the background, and wait for it, but not for long.

    Raises DataPending if it goes on: a page must not hang for what its address names.
    """
    fetch, patience = pending_import(dataset, fit), PENDING_S
    if fetch is None:
        fetch, patience = background.start(dataset, folders.DATA_ROOT, fit=fit), PATIENCE_S
    fetch.join(patience)
    if fetch.running:
        now = f" ({fetch.progress.describe()})" if fetch.progress else ""
        raise DataPending(f"These images are still being read{now}.")
    if fetch.error:
        raise DataError(fetch.error)


def pending_import(dataset: str, fit: str) -> background.Fetch | None:
    """The import of one's own images that is running, if one is."""
    fetch = background.current(dataset, folders.DATA_ROOT, fit)
    return fetch if fetch and fetch.running else None


@st.cache_data(max_entries=32, show_spinner=False, ttl=5)
def version(dataset: str) -> tuple[int, ...]:
    """What changes when one's own images change, looked at every few seconds."""
    return data.version(dataset)


def split_sizes(config: RunConfig) -> tuple[int, int]:
    """Numbers of images that a run of `config` would train on and validate on.

    Raises ConfigError when held-out images leave none to train on, DataError for one's own images
    that cannot be read: those are read for it, while the sizes of the others are known.
    """
    dataset = config.data.dataset
    if dataset in data.DATASETS:
        train, test = data.DATASETS[dataset].sizes
    else:
        _, *columns = zip(*own_images(dataset, config.data.fit).counts, strict=True)
        train, test = map(sum, columns)
    return batches.split_sizes(train, test, holdout=config.data.holdout, limit=config.data.limit)


def initial_notes(config: RunConfig) -> list[str]:
    """How the initial weights of a run would be used; raises ConfigError if they do not fit.

    The classes of a data set that would have to be downloaded first are not compared.
    """
    if config.pretrained is None:
        return []
    here = data.is_available(config.data.dataset, folders.DATA_ROOT)
    classes = images(config.data.dataset, config.data.fit).classes if here else None
    return initial.check(config, folders.RUN_ROOT, classes)


@dataclass(frozen=True)
class OwnImages:
    """Description of the user's own images for the page."""

    counts: list[tuple[str, int, int]]  # of each class: its name, training and test images
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    samples: np.ndarray  # uint8 [SAMPLES, 3, 32, 32], from the training images
    info: dict[str, Any]  # as Run.dataset_info has it


def own_images(dataset: str, fit: str) -> OwnImages:
    """Result of reading the user's own images. Raises DataError; DataPending while reading."""
    found, problem = _own_images(dataset, fit, version(dataset))
    if found is None:
        raise DataError(problem)
    return found


@st.cache_data(max_entries=32, show_spinner="Reading the images…", ttl=60)
def _own_images(dataset: str, fit: str, version: tuple[int, ...]) -> tuple[OwnImages | None, str]:
    """What was read, or None and why nothing was.

    The reason is cached too, but for a minute only: it may be a full disk.
    """
    try:
        info = _images(dataset, fit, version)
    except DataPending:
        raise
    except DataError as error:
        return None, str(error)
    found = describe(info)
    if not data.is_watched(version):
        found = dataclasses.replace(found, notes=(*found.notes, UNWATCHED))
    return found, ""


def describe(info: ImageData) -> OwnImages:
    """Description of the user's own images for the page."""
    # Evenly spaced, because images of class folders come class by class.
    last = len(info.train_labels) - 1
    samples = info.train_images[[i * last // (SAMPLES - 1) for i in range(SAMPLES)]].numpy()
    counts = info.class_counts()
    return OwnImages(counts, info.notes, info.warnings, samples, info.describe())


def other_images(run: Run, images: ImageData) -> str:
    """A sentence if these are not the images that a run was trained on; empty otherwise."""
    return compare.other_images(dataset_info(run), images.describe())


def clean_train_accuracy(run: Run, choice: DataConfig) -> float:
    """Accuracy of a run's last weights on training images without augmentation."""
    weights = (run.path / "last.safetensors").stat().st_mtime_ns
    given = (choice.dataset, choice.fit, version(choice.dataset))
    return _clean_train_accuracy(str(run.path), weights, *given)


@st.cache_data(max_entries=32, show_spinner="Measuring…")
def _clean_train_accuracy(
    path: str, weights: int, dataset: str, fit: str, version: tuple[int, ...]
) -> float:
    return predict.clean_train_accuracy(Path(path), _images(dataset, fit, version), resolve())
