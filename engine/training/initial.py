"""Initial weights of a run: lookup, checks against network and data set, and lineage."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from engine import data
from engine.config import ModelConfig, RunConfig
from engine.data import ImageData, lineage
from engine.data.lineage import UNKNOWN, Training
from engine.errors import CheckpointError, ConfigError, RunError
from engine.files import expand_user
from engine.models import build_model, build_on_meta
from engine.runs.checkpoint import (
    apply_weights,
    check_fit,
    describe_model,
    load_weights,
    read_shapes,
)
from engine.runs.compare import data_differences
from engine.runs.folder import SHIPPED
from engine.runs.run import Run

NAMED = 5  # classes listed in a note, at most


@dataclass(frozen=True)
class Initial:
    """Weights that a run starts from."""

    weights: dict[str, Tensor]
    header: dict[str, str]
    model: ModelConfig  # the run's network, with the number of classes of the weights
    replaces_head: bool  # the classes differ, so the last layer is initialized anew


def find(config: RunConfig, root: Path) -> Path:
    """The weights file of the run, shipped network or file that `config.pretrained` names.

    root: folder of runs. A shipped network is named with or without "pretrained/" before it; a run
    of the same name takes precedence. Raises ConfigError if there is none.
    """
    given = expand_user(config.pretrained)
    folders = (given, root / given, SHIPPED / given, SHIPPED.parent / given)
    for path in (given, *(folder / "last.safetensors" for folder in folders)):
        with contextlib.suppress(OSError, ValueError):  # too long for a path, or with a NUL
            if path.is_file():
                return path
    raise ConfigError(
        "pretrained", f"{config.pretrained!r} is neither a run with weights nor a .safetensors file"
    )


def follow(config: RunConfig, root: Path) -> RunConfig:
    """`config` with the network that its initial weights need: architecture, width and layers.

    Unchanged where that is not known: without weights, or for a file that belongs to no run.
    Raises ConfigError if there are no such weights.
    """
    if config.pretrained is None:
        return config
    try:
        model = Run(find(config, root).parent).config().model
    except RunError:
        return config
    model = dataclasses.replace(model, num_classes=config.model.num_classes)
    return dataclasses.replace(config, model=model)


def check(config: RunConfig, root: Path, classes: Sequence[str] | None = None) -> list[str]:
    """Notes on the use of the initial weights of `config`. Reads the header of the file only.

    classes: of the data set; None before it is loaded. Raises ConfigError listing the
    differences if the weights do not fit the network, apart from the last layer.
    """
    path = find(config, root)
    model = _fitting_model(config, path)
    known, count = _known_classes(path, model.num_classes), len(classes or ())
    if classes is None:
        spec = data.DATASETS.get(config.data.dataset)
        count = spec.num_classes if spec else 0
    if count and count != model.num_classes:
        return [
            f"{config.pretrained} knows {model.num_classes} classes, this data set has {count}: "
            "its last layer is replaced by a new one"
        ]
    if classes is None:
        return [f"whether {config.pretrained} knows the classes of this data set is checked later"]
    if known is None:
        return [
            f"the class names of {config.pretrained} are not known: its last layer is kept, which "
            "is right only for the same classes in the same order"
        ]
    if known != tuple(classes):
        return [
            f"{config.pretrained} knows other classes ({_named(known)}) than this data set "
            f"({_named(classes)}): its last layer is replaced by a new one"
        ]
    return []


def load(config: RunConfig, root: Path, classes: Sequence[str]) -> Initial:
    """Load the initial weights of `config` for a data set with these classes.

    Raises ConfigError as `check` does.
    """
    path = find(config, root)
    model = _fitting_model(config, path)
    known = _known_classes(path, model.num_classes)
    kept = model.num_classes == len(classes) and known in (None, tuple(classes))
    return Initial(*load_weights(path), model, replaces_head=not kept)


def make_model(initial: Initial, model: ModelConfig, seed: int) -> nn.Module:
    """The network of `model` with initial weights. Raises CheckpointError if they do not fit."""
    built = build_model(**initial.model.arguments, seed=seed)
    apply_weights(built, initial.weights, initial.header, describe_model(initial.model))
    if initial.replaces_head:
        built.reset_classifier(model.num_classes, seed)
    return built


def find_lineage(config: RunConfig, root: Path, info: ImageData) -> list[Training]:
    """The trainings that led to the initial weights of `config`, oldest first.

    info: data set of the run; runs made before fingerprints were stored are compared with it.
    """
    return _lineage_of(Run(find(config, root).parent), info.describe(), frozenset())


def _fitting_model(config: RunConfig, path: Path) -> ModelConfig:
    """The network of `config` with the number of classes of the weights. Raises ConfigError."""
    try:
        shapes, header = read_shapes(path)
        network = build_on_meta(**config.model.arguments)
        head = shapes.get(f"{network.classifier}.weight")
        count = head[0] if head else config.model.arguments["num_classes"]
        model = dataclasses.replace(config.model, num_classes=count)
        network = build_on_meta(**model.arguments)
        check_fit(network, shapes, header, describe_model(model))
    except (CheckpointError, ConfigError) as error:
        raise ConfigError("pretrained", f"{config.pretrained!r}: {error}") from error
    return model


def _known_classes(weights: Path, count: int) -> tuple[str, ...] | None:
    """Class names of the run that the weights belong to; None if unknown."""
    try:
        info = Run(weights.parent).dataset_info() or {}
        classes = tuple(info["classes"])
    except (ValueError, KeyError, TypeError):  # not in a run's folder, or the run is damaged
        return None
    return classes if len(classes) == count else None


def _named(classes: Sequence[str]) -> str:
    # Quoted: the name of a folder may contain terminal escape sequences.
    more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
    return ", ".join(map(repr, classes[:NAMED])) + more


def _lineage_of(run: Run, described: dict[str, Any], below: frozenset[Path]) -> list[Training]:
    """Lineage of a run's weights, its own training included. below: descendants visited so far."""
    try:
        config, known = run.config(), run.dataset_info()
        before = lineage.stored(known)
    except (ValueError, TypeError, KeyError):  # not a run, or of an unknown version
        return [UNKNOWN]
    if known is None or run.path in below:
        return [UNKNOWN]
    own = Training(
        _images_of(known, described),
        tuple(known.get("classes") or ()),
        config.seed,
        config.data.holdout,
        config.data.limit,
        config.first_epoch + config.epochs,
        avoids=before is not None,
        stratified=config.data.stratified,
    )
    if before is None:  # made before lineages were stored
        before = []
        if config.pretrained:
            with contextlib.suppress(ConfigError):
                parent = Run(find(config, run.path.parent).parent)
                before = _lineage_of(parent, described, below | {run.path})
            before = before or [UNKNOWN]
    return [*before, own]


def _images_of(known: dict[str, Any], described: dict[str, Any]) -> str:
    """Identity of a run's training images, "" if unknown; older runs compare to `described`."""
    if not known.get("fingerprint") and not data_differences(known, described):
        known = described
    return lineage.identity(known["fingerprint"]) if known.get("fingerprint") else ""
