"""The registry of architectures and the function that builds a network from it."""

import dataclasses
import math
from collections.abc import Iterable

import torch

from engine.errors import ConfigError
from engine.models.base import Architecture, ImageClassifier, WhitenedClassifier, check_num_classes
from engine.models.convmixer import CONVMIXERS
from engine.models.densenet import DENSENETS
from engine.models.initialization import initialize
from engine.models.layers import ACTIVATIONS, NORMS, Kind, Layers
from engine.models.resnet import RESNETS, RESNEXTS, WIDE_RESNETS
from engine.models.speedrun import SPEEDRUNS
from engine.models.vgg import VGGS
from engine.models.whitening import CHANNELS

__all__ = [
    "ACTIVATIONS",
    "ARCHITECTURES",
    "NORMS",
    "Architecture",
    "ImageClassifier",
    "Kind",
    "build_model",
    "build_on_meta",
]


def merge(tables: Iterable[dict[str, Architecture]]) -> dict[str, Architecture]:
    """Merge `tables` in order. Raises ValueError for a duplicate name."""
    merged: dict[str, Architecture] = {}
    for table in tables:
        if twice := merged.keys() & table.keys():
            raise ValueError(f"architectures registered twice: {', '.join(sorted(twice))}")
        merged |= table
    return merged


ARCHITECTURES = merge([RESNETS, RESNEXTS, WIDE_RESNETS, VGGS, DENSENETS, CONVMIXERS, SPEEDRUNS])
"""All architectures by name, in display order.

To add one, write engine/models/<family>.py (vgg.py is the shortest example):

1. Subclass `ImageClassifier`. The constructor takes (layers, num_classes, *, ...); take every
   activation and norm from `layers.activation()` and `layers.norm(channels)`, every channel count
   from `layers.channels(base)`, and the channels of the input from `layers.inputs`. Assign
   `Head(channels, num_classes)` to `self.head`, define `forward_features`, and name `cam_layer`.
2. Make a table {name: Architecture(...)} of its variants, and add it to the call above.

The command line, the form and the checks read this table. The tests in tests/engine/models cover
all of it; tests/engine/models/test_models_build.py also lists the names by family.
"""


def build_model(
    arch: str,
    num_classes: int = 10,
    activation: str | None = None,
    norm: str | None = None,
    width: float = 1.0,
    whitening: bool = False,
    seed: int = 0,
) -> ImageClassifier:
    """Build a network in training mode on the CPU: (B, 3, 32, 32) float -> (B, num_classes).

    arch: a key of ARCHITECTURES. activation, norm: keys of ACTIVATIONS and NORMS, used for every
    activation and norm layer; None: the architecture's default. width: multiplier on every channel
    count, above 0. whitening: prepend a whitening layer, which must be fitted to data before
    training (see whitening.py). seed: seed of the initialization. The same arguments give the same
    weights; the global random state is neither read nor written.

    Raises ConfigError, naming the field, for an unknown or invalid value.
    """
    model = build_on_meta(arch, num_classes, activation, norm, width, whitening)
    try:
        model.to_empty(device="cpu")
    except RuntimeError as error:  # the allocator's message names no setting
        size = sum(p.numel() for p in model.parameters()) * 4 / 1e9
        raise ConfigError("model.width", f"{width:g} needs {size:,.1f} GB of weights") from error
    initialize(model, torch.Generator().manual_seed(seed))
    return model


def build_on_meta(
    arch: str,
    num_classes: int = 10,
    activation: str | None = None,
    norm: str | None = None,
    width: float = 1.0,
    whitening: bool = False,
) -> ImageClassifier:
    """Build the network of `build_model` on the meta device. Raises the same errors."""
    if arch not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ConfigError("model.arch", f"unknown architecture {arch!r}; known: {known}")
    architecture = ARCHITECTURES[arch]
    activation = architecture.activation if activation is None else activation
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise ConfigError("model.activation", f"unknown activation {activation!r}; known: {known}")
    norm = architecture.norm if norm is None else norm
    if norm not in NORMS:
        raise ConfigError("model.norm", f"unknown norm {norm!r}; known: {', '.join(NORMS)}")
    if not (isinstance(width, int | float) and math.isfinite(width) and width > 0):
        raise ConfigError("model.width", f"{width!r} is not a number above 0")
    check_num_classes(num_classes)
    layers = Layers(ACTIVATIONS[activation], NORMS[norm], width)
    with torch.device("meta"):
        if not whitening or architecture.whitening:
            return architecture.build(layers, num_classes)
        network = architecture.build(dataclasses.replace(layers, inputs=CHANNELS), num_classes)
        return WhitenedClassifier(layers.activation(), network)
