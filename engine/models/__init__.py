"""The architectures and the one function that builds them."""

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Iterable

import torch
from torch import nn

from engine.errors import ConfigError
from engine.models.convmixer import CONVMIXERS
from engine.models.densenet import DENSENETS
from engine.models.layers import ACTIVATIONS, NORMS, Architecture, Layers, initialize
from engine.models.resnet import RESNETS, RESNEXTS, WIDE_RESNETS
from engine.models.speedrun import SPEEDRUNS
from engine.models.vgg import VGGS
from engine.models.whitening import CHANNELS, Whitening

__all__ = ["ACTIVATIONS", "ARCHITECTURES", "NORMS", "Architecture", "build_model"]


def merge(tables: Iterable[dict[str, Architecture]]) -> dict[str, Architecture]:
    """All tables as one, in their order. Raises ValueError for a name that occurs twice."""
    merged: dict[str, Architecture] = {}
    for table in tables:
        if twice := merged.keys() & table.keys():
            raise ValueError(f"architectures registered twice: {', '.join(sorted(twice))}")
        merged |= table
    return merged


ARCHITECTURES = merge([RESNETS, RESNEXTS, WIDE_RESNETS, VGGS, DENSENETS, CONVMIXERS, SPEEDRUNS])


def build_model(
    arch: str,
    num_classes: int = 10,
    activation: str | None = None,
    norm: str | None = None,
    width: float = 1.0,
    whitening: bool = False,
    seed: int = 0,
) -> nn.Module:
    """A network on the CPU, (B, 3, 32, 32) float -> (B, num_classes) logits, in training mode.

    arch: a key of ARCHITECTURES. activation, norm: keys of ACTIVATIONS and NORMS, used for every
    such layer; None is the architecture's own. width: multiplier on every channel count, above 0.
    whitening: put a whitening layer first, which must be fitted to data (see whitening.py).
    seed: of the weights. The same arguments give the same weights, and the global random state is
    neither read nor written.

    Raises ConfigError, naming the field, for a value that is unknown or leaves no network.
    """
    model = build_on_meta(arch, num_classes, activation, norm, width, whitening)
    try:
        model.to_empty(device="cpu")
    except RuntimeError as error:  # the allocator's own message is no help to a person
        size = sum(p.numel() for p in model.parameters()) * 4 / 1e9
        raise ConfigError("model.width", f"{width:g} needs {size:,.1f} GB of weights") from error
    initialize(model, seed)
    return model


def build_on_meta(
    arch: str,
    num_classes: int = 10,
    activation: str | None = None,
    norm: str | None = None,
    width: float = 1.0,
    whitening: bool = False,
) -> nn.Module:
    """The network of `build_model` without its weights: shapes only, on the meta device."""
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
    if not (isinstance(num_classes, int) and num_classes >= 1):
        raise ConfigError("model.num_classes", f"{num_classes!r} is not a whole number above 0")
    layers = Layers(ACTIVATIONS[activation], NORMS[norm], width)
    with torch.device("meta"):
        if not whitening or architecture.whitening:
            return architecture.build(layers, num_classes)
        network = architecture.build(dataclasses.replace(layers, inputs=CHANNELS), num_classes)
        parts = {"whitening": Whitening(same=True), "activation": layers.activation()}
        return nn.Sequential(OrderedDict(**parts, network=network))
