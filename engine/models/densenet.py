"""DenseNet-BC with the stem for 32×32 images.

Huang, Liu, van der Maaten, Weinberger 2016, "Densely Connected Convolutional Networks",
arXiv 1608.06993: the depths of its table 1, bottlenecks (B) of four times the growth rate, and
transitions that halve the channels (C). Each convolution is preceded by norm and activation.
"""

from functools import partial

import torch
from torch import nn

from engine.models.base import Architecture, Head, ImageClassifier
from engine.models.layers import Layers


class DenseLayer(nn.Module):
    """Appends `growth` channels: (B, inputs, H, W) -> (B, inputs + growth, H, W)."""

    def __init__(self, layers: Layers, inputs: int, growth: int):
        super().__init__()
        self.body = nn.Sequential(
            layers.norm(inputs),
            layers.activation(),
            nn.Conv2d(inputs, 4 * growth, 1, bias=False),
            layers.norm(4 * growth),
            layers.activation(),
            nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, self.body(x)], dim=1)


class DenseBlock(nn.Sequential):
    """Dense layers, each of which takes the outputs of all preceding layers."""


def transition(layers: Layers, inputs: int, outputs: int) -> nn.Sequential:
    """1×1 convolution and average pooling: (B, inputs, H, W) -> (B, outputs, H // 2, W // 2)."""
    return nn.Sequential(
        layers.norm(inputs),
        layers.activation(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.AvgPool2d(2),
    )


class DenseNet(ImageClassifier):
    """Stem, four dense blocks with transitions between them, head.

    (B, 3, 32, 32) -> (B, num_classes) logits. `depths`: dense layers of each block. The width
    scales `growth`, the number of channels added per layer, and with it every channel count.
    """

    cam_layer = "stages.5.1"  # 8×8: the activation after the third of the four blocks

    def __init__(self, layers: Layers, num_classes: int, *, depths, growth=32):
        super().__init__()
        growth = layers.channels(growth)
        channels = 2 * growth
        self.stem = nn.Conv2d(layers.inputs, channels, 3, padding=1, bias=False)
        stages = []
        for stage, depth in enumerate(depths):  # 32×32, 16×16, 8×8, 4×4
            if stage > 0:
                stages.append(transition(layers, channels, channels // 2))
                channels //= 2
            dense = [DenseLayer(layers, channels + i * growth, growth) for i in range(depth)]
            stages.append(DenseBlock(*dense))
            channels += depth * growth
        self.stages = nn.Sequential(*stages)
        self.final = nn.Sequential(layers.norm(channels), layers.activation())
        self.head = Head(channels, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.final(self.stages(self.stem(x)))


VARIANTS = {
    "densenet121": {"depths": (6, 12, 24, 16)},
    "densenet161": {"depths": (6, 12, 36, 24), "growth": 48},
    "densenet169": {"depths": (6, 12, 32, 32)},
    "densenet201": {"depths": (6, 12, 48, 32)},
}

DENSENETS = {
    name: Architecture(
        build=partial(DenseNet, **variant),
        family="DenseNet",
        description=f"{sum(variant['depths'])} densely connected layers of two convolutions, "
        f"growth rate {variant.get('growth', 32)}",
        paper="Huang et al. 2016, https://arxiv.org/abs/1608.06993",
    )
    for name, variant in VARIANTS.items()
}
