"""Base class of the image classifiers, the common head, and the registry entry.

The methods and the split between features and head follow timm
(https://huggingface.co/docs/timm/feature_extraction).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from engine.errors import ConfigError
from engine.models.initialization import initialize
from engine.models.layers import Layers
from engine.models.whitening import Whitening
from engine.randomness import Purpose, keyed_generator


class ImageClassifier(nn.Module):
    """Base class of the networks: (B, 3, 32, 32) float -> (B, num_classes) logits.

    A subclass defines `forward_features`, sets `cam_layer`, and assigns a `Head` to `self.head`
    (or overrides `forward_head` and `classifier`). For every subclass, these hold bitwise:

        forward(x) == forward_head(forward_features(x))
        forward_head(features) == get_classifier()(forward_head(features, pre_logits=True))
    """

    classifier = "head.2"
    """Name of the last linear layer, for `get_submodule`."""

    cam_layer: str
    """Name of the target layer for class activation maps, for `get_submodule`.

    The deepest layer whose output is still about 8×8 for a 32×32 image, after an activation where
    one follows: deeper maps (4×4 and below) are too coarse to locate anything. Register hooks on a
    network that has not been accelerated for training: fused kernels do not call each module.
    """

    def forward_features(self, x: Tensor) -> Tensor:
        """The last feature map, before pooling: (B, 3, H, W) -> (B, C, H', W')."""
        raise NotImplementedError

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Logits (B, num_classes) from the output of `forward_features`.

        pre_logits: return the input of the classifier instead, (B, in_features).
        """
        return self.head(features, pre_logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))

    def get_classifier(self) -> nn.Linear:
        """The last linear layer."""
        return self.get_submodule(self.classifier)

    def reset_classifier(self, num_classes: int, seed: int = 0) -> None:
        """Replace the last linear layer with a new one with `num_classes` outputs.

        Its weights depend on `seed` alone; the global random state is neither read nor written.
        Device, dtype and training mode are those of the layer it replaces. Construct the optimizer
        afterwards: the parameters are new.

        Raises ConfigError if num_classes is not a whole number above 0.
        """
        check_num_classes(num_classes)
        old = self.get_classifier()
        with torch.device("meta"):  # the constructor would draw from the global generator
            new = type(old)(old.in_features, num_classes, bias=old.bias is not None)
        new = new.to_empty(device="cpu").train(old.training)
        initialize(new, keyed_generator(seed, Purpose.CLASSIFIER))
        self.set_submodule(self.classifier, new.to(old.weight))


def check_num_classes(num_classes: int) -> None:
    """Raises ConfigError unless num_classes is a whole number above 0."""
    if not (isinstance(num_classes, int) and num_classes >= 1):
        raise ConfigError("model.num_classes", f"{num_classes!r} is not a whole number above 0")


class Head(nn.Sequential):
    """Global average pooling and one linear layer: (B, channels, H, W) -> (B, num_classes)."""

    def __init__(self, channels: int, num_classes: int):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        pool, flatten, linear = self
        x = flatten(pool(x))
        return x if pre_logits else linear(x)


class WhitenedClassifier(ImageClassifier):
    """A whitening layer and an activation in front of `network`."""

    def __init__(self, activation: nn.Module, network: ImageClassifier):
        super().__init__()
        self.whitening = Whitening(same=True)
        # In a Sequential, whose activations engine.fast replaces by faster ones.
        self.activation = nn.Sequential(activation)
        self.network = network
        self.classifier = f"network.{network.classifier}"
        self.cam_layer = f"network.{network.cam_layer}"

    def forward_features(self, x: Tensor) -> Tensor:
        return self.network.forward_features(self.activation(self.whitening(x)))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return self.network.forward_head(features, pre_logits)


@dataclass(frozen=True)
class Architecture:
    """One entry of ARCHITECTURES: the constructor of a network and its description."""

    build: Callable[[Layers, int], ImageClassifier]  # (layers, num_classes) -> network
    family: str
    description: str  # one line
    paper: str  # authors, year, arXiv address
    activation: str = "relu"  # default, a key of ACTIVATIONS
    norm: str = "batch"  # default, a key of NORMS
    whitening: bool = False  # whether the network has its own whitening layer
