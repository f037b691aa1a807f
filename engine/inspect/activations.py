"""What the layers of a network compute: output shapes, activation maps, first filters."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from engine.models.base import ImageClassifier
from engine.models.summary import LayerRow, summarize
from engine.models.whitening import Whitening


class Filters(NamedTuple):
    """The filters of a network's first layer, as images."""

    layer: str  # dotted path in the network
    is_whitening: bool  # computed from training images, not trained
    images: Tensor  # uint8 [filters, 3, h, w], each stretched so that 0 is mid-gray


def layers(model: ImageClassifier) -> tuple[LayerRow, ...]:
    """Name, kind and output shape of each layer, in the order of the forward pass."""
    return summarize(model, batch_size=1).layers


def activation_maps(model: ImageClassifier, x: Tensor, layer: str) -> Tensor:
    """Output of the layer of that name for one normalized image [1, 3, H, W], without the batch.

    [C, H', W'] of a convolution, [C] of a linear layer. The plain network in fp32: fast layers are
    not always called one by one. Raises ValueError if the network has no such layer.
    """
    model = copy.deepcopy(model)  # the hook would see the passes of other threads
    try:
        module = model.get_submodule(layer)
    except AttributeError:
        raise ValueError(f"the network has no layer {layer!r}") from None
    found: list[Tensor] = []
    # A copy: the next layer may change it in place.
    module.register_forward_hook(lambda m, inputs, output: found.append(output.clone()))
    with torch.no_grad():
        model(x)
    return found[-1][0]


def first_filters(model: ImageClassifier) -> Filters:
    """The filters of the first layer, a convolution or the whitening layer."""
    name, module = next(
        (name, each)
        for name, each in model.named_modules()
        if isinstance(each, nn.Conv2d | Whitening)
    )
    weight = module.weight.detach().float().cpu()
    largest = weight.abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    images = (127.5 + 127.5 * weight / largest).round().to(torch.uint8)
    return Filters(name, isinstance(module, Whitening), images)
