"""ConvMixer with 2×2 patches, for 32×32 images.

Trockman, Kolter 2022, "Patches Are All You Need?", arXiv 2201.09792: figure 3, and section 3's
CIFAR-10 setting. The activation comes before the norm; only the depthwise half is residual.
"""

from functools import partial

import torch
from torch import nn

from engine.models.base import Architecture, Head, ImageClassifier
from engine.models.layers import Layers


class Mixer(nn.Module):
    """Depthwise convolution with a residual connection, then a 1×1 convolution; same shape."""

    def __init__(self, layers: Layers, channels: int, kernel: int):
        super().__init__()
        self.depthwise = nn.Sequential(
            nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels),
            layers.activation(),
            layers.norm(channels),
        )
        self.pointwise = nn.Sequential(
            nn.Conv2d(channels, channels, 1), layers.activation(), layers.norm(channels)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pointwise(x + self.depthwise(x))


class ConvMixer(ImageClassifier):
    """Patch embedding, `depth` mixers of `base` channels at 16×16, head.

    (B, 3, 32, 32) -> (B, num_classes) logits.
    """

    cam_layer = "stages"  # 16×16, like every feature map of the network

    def __init__(self, layers: Layers, num_classes: int, *, base, depth, kernel=7):
        super().__init__()
        channels = layers.channels(base)
        self.stem = nn.Sequential(
            nn.Conv2d(layers.inputs, channels, 2, stride=2),
            layers.activation(),
            layers.norm(channels),
        )
        self.stages = nn.Sequential(*[Mixer(layers, channels, kernel) for _ in range(depth)])
        self.head = Head(channels, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.stages(self.stem(x))


VARIANTS = {
    "convmixer256d8": {"base": 256, "depth": 8},
    "convmixer256d16": {"base": 256, "depth": 16},
    "convmixer256d16k3": {"base": 256, "depth": 16, "kernel": 3},
    "convmixer256d16k9": {"base": 256, "depth": 16, "kernel": 9},
    "convmixer768d17": {"base": 768, "depth": 17},
    "convmixer1024d10": {"base": 1024, "depth": 10},
    "convmixer1024d18": {"base": 1024, "depth": 18},
    "convmixer2048d5": {"base": 2048, "depth": 5},
}

CONVMIXERS = {
    name: Architecture(
        build=partial(ConvMixer, **variant),
        family="ConvMixer",
        description=f"{variant['depth']} mixers of {variant['base']} channels on 2×2 patches, "
        f"kernel {variant.get('kernel', 7)}",
        paper="Trockman and Kolter 2022, https://arxiv.org/abs/2201.09792",
        activation="gelu",
    )
    for name, variant in VARIANTS.items()
}
