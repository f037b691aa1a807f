"""Cached readings of runs, their records, and data sets."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import streamlit as st

from engine import data, runs
from engine.config import RunConfig
from engine.data import ImageData
from engine.data.batches import sample_indices, split
from engine.device import resolve
from engine.errors import ConfigError, DataError, RunError
from engine.predict import load_network, measure
from engine.runs.run import Run, State, Status
from pages.ui import folders

LIVE = (State.QUEUED, State.RUNNING)


def statuses() -> list[tuple[Run, Status]]:
    """Every readable run with its status, newest first."""
    pairs = ((run, status_of(run)) for run in runs.list_runs(folders.RUN_ROOT))
    return [(run, status) for run, status in pairs if status is not None]


def status_of(run: Run) -> Status | None:
    """A run's status, or None when it was deleted meanwhile."""
    try:
        return run.status()
    except RunError:
        return None


def find_run(name: str | None) -> Run | None:
    """The run of that name, or None."""
    try:
        return runs.open_run(folders.RUN_ROOT, name) if name else None
    except ValueError:
        return None


def config_of(run: Run) -> RunConfig | None:
    """A run's config, parsed again only when its file changed; None when it cannot be read."""
    try:
        return _config(run.path, (run.path / "config.json").stat().st_mtime_ns)
    except (OSError, ValueError):
        return None


# Not Streamlit's cache, which would copy and check each of a thousand at every rerun of the table.
@functools.lru_cache(maxsize=4_000)
def _config(path: Path, changed: int) -> RunConfig:
    return Run(path).config()


def records(run: Run) -> list[dict[str, Any]]:
    """All of a run's records, read again only when the file changed."""
    version = _version(run)
    return _records(str(run.path), *version) if version else []


def epochs(run: Run) -> list[dict[str, Any]]:
    """A run's epoch records, read again only when the file changed."""
    version = _version(run)
    return _epochs(str(run.path), *version) if version else []


def _version(run: Run) -> tuple[int, int] | None:
    """Modification time (ns) and size of a run's records; None before the first."""
    try:
        stat = (run.path / "metrics.jsonl").stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


@st.cache_data(max_entries=64, show_spinner=False)
def _records(path: str, changed: int, size: int) -> list[dict[str, Any]]:
    return Run(Path(path)).records()[0]


@st.cache_data(max_entries=256, show_spinner=False)
def _epochs(path: str, changed: int, size: int) -> list[dict[str, Any]]:
    return Run(Path(path)).epochs()


def images(dataset: str) -> ImageData:
    """A data set that is here already; never downloads. Read again when it changed."""
    return _images(dataset, stamp(dataset))


@st.cache_resource(max_entries=2, show_spinner="Reading the images…")
def _images(dataset: str, changed: tuple[int, ...]) -> ImageData:
    return data.load(dataset, folders.DATA_ROOT)


@st.cache_data(max_entries=32, show_spinner=False, ttl=5)
def stamp(dataset: str) -> tuple[int, ...]:
    """Modification times and sizes of one's own zip, or of every folder in one's own folder.

    Adding or removing a file changes its folder's time. Looked at every few seconds.
    """
    if dataset in data.DATASETS:
        return ()
    path = Path(dataset).expanduser()
    places = [path, *sorted(Path(at) for at, _, _ in os.walk(path))]  # of a zip nothing
    try:
        stats = [place.stat() for place in places]
    except OSError:
        return ()
    return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size))


CLEAN_IMAGES = 2_000  # a random sample of the training images that takes seconds


def clean_train_accuracy(path: str, changed: int, dataset: str) -> float:
    """Accuracy of a run's last weights on training images without augmentation."""
    return _clean_train_accuracy(path, changed, stamp(dataset))


@st.cache_data(max_entries=32, show_spinner="Measuring…")
def _clean_train_accuracy(path: str, weights: int, images_changed: tuple[int, ...]) -> float:
    compute = resolve()
    network = load_network(Path(path), compute)
    config = network.config
    parts = split(
        images(config.data.dataset),
        holdout=config.data.holdout,
        limit=config.data.limit,
        seed=config.seed,
    )
    sample = sample_indices(len(parts.train_labels), CLEAN_IMAGES, config.seed)
    return measure(network, parts.train_images[sample], parts.train_labels[sample], compute).acc


def data_sizes(config: RunConfig) -> tuple[int, int]:
    """Images that a run of `config` would train on, and those of the test set.

    Raises ConfigError when held-out images leave none to train on, DataError for one's own images
    that cannot be read. Those are read for it; what is downloaded is known without.
    """
    dataset = config.data.dataset
    if dataset in data.DATASETS:
        train, test = data.DATASETS[dataset].sizes
    else:
        _, *columns = zip(*own_classes(dataset), strict=True)
        train, test = map(sum, columns)
    left = train - config.data.holdout
    if left < 1:
        raise ConfigError("data.holdout", f"leave some of the {train:,} training images to learn")
    return min(left, config.data.limit or left), test


def own_classes(dataset: str) -> list[tuple[str, int, int]]:
    """Each class of one's own images with its training and test images. Raises DataError."""
    counts, problem = _own_classes(dataset, stamp(dataset))
    if problem:
        raise DataError(problem)
    return counts


@st.cache_data(max_entries=32, show_spinner="Reading the images…", ttl=60)
def _own_classes(dataset: str, changed: tuple[int, ...]) -> tuple[list[tuple[str, int, int]], str]:
    """Images of each class, or why there are none: told again without reading all again.

    For a minute, since the reason may be a full disk.
    """
    try:
        return _images(dataset, changed).class_counts(), ""
    except DataError as error:
        return [], str(error)
