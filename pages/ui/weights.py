"""Weights files of runs and shipped networks that can be chosen, and what is known of them."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from engine import data
from engine.device import resolve
from engine.errors import RunError
from engine.predict import Network, load_network
from engine.runs.run import HELD, Run, State, Status
from engine.runs.validation import seen_clause
from pages.ui import folders, readings
from pages.ui.text import markdown, percent

KINDS = {"best": "best.safetensors", "last": "last.safetensors"}


@dataclass(frozen=True)
class Choice:
    """A weights file that can be chosen."""

    name: str  # the run's, with "pretrained/" before a shipped one's
    run: Run
    kind: str  # a key of KINDS
    status: Status
    changed: tuple[int, int]  # modification time (ns) and size of the file: its version
    copy: Path | None = None  # of this version, while the run's training replaces the file

    @property
    def weights(self) -> Path:
        return self.copy or self.run.path / KINDS[self.kind]

    @property
    def trains(self) -> bool:
        """Whether the run's training may replace the file."""
        return self.status.state in HELD

    @property
    def title(self) -> str:
        return f"{self.name} · {self.kind}"

    @property
    def is_complete(self) -> bool:
        """Whether the run is shipped or finished."""
        return self.name.startswith("pretrained/") or self.status.state is State.FINISHED

    @property
    def label(self) -> str:
        """The title, after the run's own, with a note if it failed or tests chose the epoch."""
        own = self.run.title()
        title = f"{own} · {self.title}" if own else self.title
        if self.status.state is State.FAILED:
            return f"{title} (training failed)"
        chosen = self.kind == "best" and self.status.val_is_test
        return f"{title} (chosen on test data)" if chosen else title


def choices() -> dict[str, Choice]:
    """Weights files by "run/kind": of shipped and finished runs, then of others, newest first."""
    roots = {"pretrained/": readings.shipped_networks(), "": readings.list_runs(folders.RUN_ROOT)}
    found = {}
    for prefix, listed in roots.items():
        for run in listed:
            for kind in KINDS:
                name = f"{prefix}{run.name}"
                if choice := choice_of(name, run, kind):
                    found[f"{name}/{kind}"] = choice
    # Stable sort. A run stopped in its first epoch would be a poor default.
    return dict(sorted(found.items(), key=lambda item: not item[1].is_complete))


def choice_of(name: str, run: Run, kind: str) -> Choice | None:
    """One of a run's weights files, unless it is absent. name: of the choice; kind: of KINDS."""
    try:
        about = (run.path / KINDS[kind]).stat()
    except OSError:
        return None
    if not stat.S_ISREG(about.st_mode):
        return None
    try:
        status = run.status()
    except RunError:  # the weights suffice
        status = Status()
    return Choice(name, run, kind, status, (about.st_mtime_ns, about.st_size))


def plain_network(choice: Choice) -> Network:
    """The network with PyTorch's own layers, in fp32 on the CPU. Raises ValueError or OSError."""
    return _plain_network(str(choice.weights), choice.changed)


@st.cache_resource(max_entries=4, show_spinner="Loading the network…")
def _plain_network(path: str, changed: tuple[int, int]) -> Network:
    return load_network(Path(path), resolve("cpu", "fp32"), "plain")


def facts(choice: Choice) -> str:
    """One line about a network: architecture, data set, accuracy."""
    config, status = readings.config_of(choice.run), choice.status
    info = readings.dataset_info(choice.run)
    parts = [config.model.arch] if config else []
    if info:
        # Older runs recorded a folder named cifar10 as CIFAR-10.
        name = data.name_of(config.data.dataset) if config else str(info.get("name"))
        parts.append(f"trained on {markdown(dataset_title(name))}")
    images = "test" if status.val_is_test else "held-out"
    if choice.kind == "best" and status.best_acc is not None:
        accuracy = f"{percent(status.best_acc)} on {images} images after epoch "
        accuracy += f"{status.best_epoch}"
        if status.val_is_test:
            accuracy += ", chosen by this figure, so it is optimistic"
        parts.append(accuracy)
    elif choice.kind == "last" and status.final_acc is not None:
        parts.append(f"{percent(status.final_acc)} on {images} images after the last full epoch")
        if status.test_acc is not None:
            parts.append(f"{percent(status.test_acc)} on test images")
    if clause := seen_clause(status.val_seen):
        parts.append(f"measured on {images} images{clause}")
    if choice.trains:
        parts.append(f"training now (epoch {status.epoch} of {status.epochs})")
    return " · ".join(parts)


def dataset_title(name: str) -> str:
    """A data set's title; CIFAR-10 (JPEG) has its own, since accuracies on it are lower."""
    if name.lower() == "cifar10-jpeg":
        return "CIFAR-10 (JPEG)"
    return data.DATASETS[name].title if name in data.DATASETS else name
