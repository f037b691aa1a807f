"""A trained network from disk, for evaluation and classification; never the one being trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from engine.checkpoint import apply_weights, describe_model, load_weights
from engine.config import RunConfig
from engine.device import Compute
from engine.errors import CheckpointError
from engine.models import build_model
from engine.runs import Run


@dataclass(frozen=True)
class Network:
    """A network in eval mode, and what it must be fed and what it answers."""

    model: nn.Module
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    config: RunConfig  # of the run that trained it
    weights: Path  # the file they came from


def load_network(path: Path, compute: Compute) -> Network:
    """The network of a run folder (its last weights) or of a weights file inside one.

    Raises CheckpointError or RunError when it is not there or does not fit its own config.
    """
    weights = path / "last.safetensors" if path.is_dir() else path
    run = Run(weights.parent)
    config, info = run.config(), run.dataset_info()
    if info is None or not weights.is_file():
        raise CheckpointError(f"{path.name}: this run has no weights yet; train it first")
    choice = config.model
    model = build_model(
        choice.arch, choice.num_classes, choice.activation, choice.norm, choice.width
    )
    apply_weights(model, *load_weights(weights), describe_model(choice))
    model = model.to(compute.device, memory_format=compute.memory_format).eval()
    return Network(
        model,
        tuple(info["classes"]),
        tuple(info["mean"]),
        tuple(info["std"]),
        config,
        weights,
    )
