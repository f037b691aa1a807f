"""VGG with a norm after each convolution and one linear layer, for 32×32 images.

Simonyan, Zisserman 2014, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
arXiv 1409.1556: configurations A, B, D and E of its table 1. The norms are not in the paper, and
one linear layer replaces its three, which are sized for 224×224 images.
"""

from functools import partial

import torch
from torch import nn

from engine.models.base import Architecture, Head, ImageClassifier
from engine.models.layers import Layers

STAGE_CHANNELS = (64, 128, 256, 512, 512)


class VGG(ImageClassifier):
    """Five stages of 3×3 convolutions, each followed by max-pooling, and a head.

    (B, 3, 32, 32) -> (B, num_classes) logits. `depths`: convolutions in each stage.
    """

    def __init__(self, layers: Layers, num_classes: int, *, depths):
        super().__init__()
        inputs, stages = layers.inputs, []
        for depth, base in zip(depths, STAGE_CHANNELS, strict=True):
            channels = layers.channels(base)
            stage = []
            for _ in range(depth):
                convolution = nn.Conv2d(inputs, channels, 3, padding=1)
                stage += [convolution, layers.norm(channels), layers.activation()]
                inputs = channels
            stages.append(nn.Sequential(*stage, nn.MaxPool2d(2)))  # 16×16, 8×8, 4×4, 2×2, 1×1
        self.stages = nn.Sequential(*stages)
        self.head = Head(inputs, num_classes)
        # 8×8: the last activation of the third stage, before its max-pooling.
        self.cam_layer = f"stages.2.{3 * depths[2] - 1}"

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.stages(x)


DEPTHS = {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}

VGGS = {
    name: Architecture(
        build=partial(VGG, depths=depths),
        family="VGG",
        description=f"{sum(depths)} plain 3×3 convolutions and one linear layer",
        paper="Simonyan and Zisserman 2014, https://arxiv.org/abs/1409.1556",
    )
    for name, depths in DEPTHS.items()
}
