"""What the Classify page works with: the networks on disk, uploads made ready, answers, a CSV."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st
from PIL import Image

from engine import data, runs
from engine.data.images import FITS
from engine.data.types import IMAGE_SIZE
from engine.errors import DataError, RunError
from engine.predict import Predictor, best, decode_image, to_image, to_input
from engine.runs.run import Run, State, Status
from pages.ui import state, tables
from pages.ui.cards import (
    SMALL,
    THUMB,
    Answer,
    Picture,
    agree,
    comparable,
    data_address,
    printable,
    shown_name,
)

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "pretrained"
KINDS = {"best": "best.safetensors", "last": "last.safetensors"}
MAX_PICTURES = 64  # at once
DRAWN = 12  # test images at once


@dataclass(frozen=True)
class Choice:
    """A weights file that can be chosen."""

    name: str  # the run's, with "pretrained/" before a shipped one's
    run: Run
    kind: str  # a key of KINDS
    status: Status
    changed: tuple[int, int]  # modification time (ns) and size of the file: its version

    @property
    def weights(self) -> Path:
        return self.run.path / KINDS[self.kind]

    @property
    def title(self) -> str:
        return f"{self.name} · {self.kind}"

    @property
    def is_complete(self) -> bool:
        """Shipped, or trained to its end."""
        return self.name.startswith("pretrained/") or self.status.state is State.FINISHED

    @property
    def label(self) -> str:
        """The title, with a warning where the epoch was chosen by its test accuracy."""
        chosen = self.kind == "best" and self.status.val_is_test
        return f"{self.title} (chosen on test data)" if chosen else self.title


def choices() -> dict[str, Choice]:
    """Every weights file by "run/kind": shipped ones, then own: finished first, then newest."""
    shipped = sorted(runs.list_runs(SHIPPED), key=lambda run: run.name)
    found = {}
    for prefix, listed in (("pretrained/", shipped), ("", runs.list_runs(state.RUN_ROOT))):
        for run in listed:
            for kind in KINDS:
                name = f"{prefix}{run.name}"
                if choice := _choice(name, run, kind):
                    found[f"{name}/{kind}"] = choice
    # Sorting keeps the order of equals; a run stopped in its first epoch is a poor first network.
    return dict(sorted(found.items(), key=lambda item: not item[1].is_complete))


def _choice(name: str, run: Run, kind: str) -> Choice | None:
    try:
        about = (run.path / KINDS[kind]).stat()
    except OSError:
        return None
    try:
        status = run.status()
    except RunError:  # weights are all that is needed
        status = Status()
    return Choice(name, run, kind, status, (about.st_mtime_ns, about.st_size))


@st.cache_resource(max_entries=4, show_spinner="Loading the network…")
def predictor(weights: str, changed: tuple[int, int]) -> Predictor:
    """The network in a file; loaded again when the file changed."""
    return Predictor.load(Path(weights))


@dataclass(frozen=True)
class Ready:
    """A choice with its network in memory: it answers even if its files are deleted meanwhile."""

    choice: Choice
    predictor: Predictor

    @property
    def classes(self) -> tuple[str, ...]:
        return self.predictor.classes

    def answers(self, pictures: list[Picture], fit: str, k: int) -> list[Answer]:
        """What the network says of each picture."""
        if not pictures:
            return []
        pixels = b"".join(picture.inputs[fit].tobytes() for picture in pictures)
        version = (str(self.choice.weights), self.choice.changed)
        rows = _probabilities(version, pixels, self.predictor)
        return [Answer(self.choice.title, best(row, self.classes, k), self.classes) for row in rows]


def load(choice: Choice) -> Ready:
    """Raises ValueError or OSError when the file went away or does not fit."""
    return Ready(choice, predictor(str(choice.weights), choice.changed))


@st.cache_data(max_entries=64, show_spinner=False)
def _probabilities(version: tuple, pixels: bytes, _predictor: Predictor) -> np.ndarray:
    inputs = np.frombuffer(pixels, np.uint8).reshape(-1, IMAGE_SIZE, IMAGE_SIZE, 3)
    return _predictor.probabilities([Image.fromarray(i) for i in inputs])


def facts(choice: Choice) -> str:
    """A network in a line, for a person: what it is, what it learned, how well it did."""
    config, info, status = tables.config_of(choice.run), choice.run.dataset_info(), choice.status
    parts = [config.model.arch] if config else []
    if info:
        parts.append(f"trained on {markdown(dataset_title(str(info.get('name'))))}")
    images = "test" if status.val_is_test else "held-out"
    if choice.kind == "best" and status.best_acc is not None:
        accuracy = f"{state.percent(status.best_acc)} on {images} images after epoch "
        accuracy += f"{status.best_epoch}"
        if status.val_is_test:
            accuracy += ", which was chosen by this figure, so it reads too high"
        parts.append(accuracy)
    elif choice.kind == "last" and status.final_acc is not None:
        parts.append(
            f"{state.percent(status.final_acc)} on {images} images after its last whole epoch"
        )
    if status.state is State.RUNNING:
        parts.append(f"training now (epoch {status.epoch} of {status.epochs})")
    return " · ".join(parts)


def dataset_title(name: str) -> str:
    """Accuracies on re-encoded CIFAR-10 are lower than on the original, so it is named apart."""
    if name.lower() == "cifar10-jpeg":
        return "CIFAR-10 (JPEG)"
    return data.DATASETS[name].title if name in data.DATASETS else name


# ---------------------------------------------------------------------------- pictures


def read_upload(name: str, content: bytes) -> Picture:
    """An uploaded file made ready. Raises DataError with the reason why not."""
    image = decode_image(content)
    (width, height), frames = image.info["size"], image.info["frames"]
    about = f"{width}×{height} pixels"
    if frames > 1:
        about += f", the first of {frames} pictures in the file"
    inputs = {fit: _fitted(image, fit) for fit in FITS}
    small = max(image.size) <= SMALL
    image.thumbnail((THUMB, THUMB))
    thumb = data_address(image, "PNG" if small else "JPEG")
    return Picture(shown_name(name), about, thumb, small, inputs)


def _fitted(image: Image.Image, fit: str) -> Image.Image:
    return to_image(to_input(image, fit))


def read_uploads(
    files: list[Any], progress: Callable[[int, int], None]
) -> tuple[list[Picture], list[tuple[str, str]]]:
    """(pictures, [(shown name, why it is refused)]), each file decoded once a session."""
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
    st.session_state.pop("classify_read", None)


def draw_tests(choice: Choice, draw: int) -> list[Picture]:
    """Random test images of the network's own data set, the same ones for the same `draw`.

    Raises DataError when they are not on this computer; nothing is ever downloaded here.
    """
    dataset = choice.run.config().data.dataset
    if not data.is_available(dataset, state.DATA_ROOT):
        raise DataError(
            f"The test images of {dataset_title(Path(dataset).stem)} are not on this computer, and "
            "this page downloads nothing. Get them on Home, or upload pictures of your own."
        )
    images = state.images(dataset)
    count = len(images.test_labels)
    indices = np.random.default_rng(draw).choice(count, min(DRAWN, count), replace=False)
    return [_test_picture(images, int(i)) for i in indices]


def _test_picture(images: data.ImageData, index: int) -> Picture:
    image = to_image(images.test_images[index])
    truth = images.classes[int(images.test_labels[index])]
    return Picture(f"Test image {index}", "", "", True, dict.fromkeys(FITS, image), truth)


# ---------------------------------------------------------------------------- texts and files


def to_csv(results: list[tuple[Picture, list[Answer]]], refused: list, fit: str) -> bytes:
    """A row a picture; cells that a spreadsheet would run as a formula are defused."""
    rows = []
    for picture, said in results:
        row: dict[str, Any] = {"picture": picture.name, "about": picture.about, "fit": fit}
        if picture.truth:
            row["true class"] = picture.truth
        for number, answer in enumerate(said, start=1):
            mark = f" ({number})" if len(said) > 1 else ""
            row[f"network{mark}"] = answer.network
            for rank, (label, probability) in enumerate(answer.top, start=1):
                row[f"class {rank}{mark}"] = label
                row[f"probability {rank}{mark}"] = round(probability, 6)
            row[f"may be none{mark}"] = "yes" if answer.unsure else "no"
        if comparable(said):
            row["agree"] = "yes" if agree(said) else "no"
        rows.append(row)
    rows += [{"picture": name, "error": why} for name, why in refused]
    # A line break within a cell could begin a new one, which the defusing would not see.
    table = pd.DataFrame(rows).map(lambda cell: printable(cell) if isinstance(cell, str) else cell)
    return tables.to_csv(table)


def code(text: str) -> str:
    """Text from outside as Markdown that shows it letter by letter: a code span."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if text.strip() else "` `"


def markdown(text: str) -> str:
    """Text from outside for a line of Markdown, with its marks taken literally."""
    return re.sub(r"([\\`*_{}\[\]<>$~#|:])", r"\\\1", text)


def plain(error: Exception) -> str:
    """An error's first line without any folder of this computer; not yet Markdown."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    for root in (state.RUN_ROOT, state.DATA_ROOT, SHIPPED):
        text = text.replace(f"{root.resolve().parent}{os.sep}", "")
    return re.sub(r"(?<![\w.])(?:[A-Za-z]:)?[\\/](?:[^\s\\/'\"]+[\\/])+", "", text)
