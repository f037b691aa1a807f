"""The speedrun network: small, shallow and fast to train on 32×32 images.

Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv 2404.00498, section 3 and
appendix A: patch whitening, three stages of two 3×3 convolutions, a head with scaled logits. The
convolutions are initialized to the identity on their first channels (section 3.3, "dirac").
"""

from functools import partial

import torch
from torch import nn

from engine.models.base import Architecture, ImageClassifier
from engine.models.layers import IdentityConv, Layers
from engine.models.whitening import CHANNELS, Whitening

SCALE = 1 / 9  # logit multiplier; keeps the first updates of the head small


class ScaledLinear(nn.Linear):
    """A linear layer whose output is multiplied by SCALE."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * SCALE


class Stage(nn.Module):
    """(B, inputs, H, W) -> (B, outputs, H // 2, W // 2); the pooling precedes the first norm."""

    def __init__(self, layers: Layers, inputs: int, outputs: int):
        super().__init__()
        self.body = nn.Sequential(
            IdentityConv(inputs, outputs),
            nn.MaxPool2d(2),
            layers.norm(outputs),
            layers.activation(),
            IdentityConv(outputs, outputs),
            layers.norm(outputs),
            layers.activation(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Speedrun(ImageClassifier):
    """Whitening, three stages, global max-pooling, scaled linear layer.

    (B, 3, 32, 32) -> (B, num_classes) logits. `bases`: channels of each stage at width 1.
    """

    classifier = "head"
    cam_layer = "stages.1"  # 7×7; the last stage is 3×3

    def __init__(self, layers: Layers, num_classes: int, *, bases: tuple[int, ...]):
        super().__init__()
        self.stem = nn.Sequential(Whitening(same=False), layers.activation())  # 31×31
        inputs, stages = CHANNELS, []
        for base in bases:  # 15×15, 7×7, 3×3
            outputs = layers.channels(base)
            stages.append(Stage(layers, inputs, outputs))
            inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.head = ScaledLinear(inputs, num_classes, bias=False)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.stages(self.stem(x))

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        pooled = features.amax((2, 3))  # (B, channels)
        return pooled if pre_logits else self.head(pooled)


SPEEDRUNS = {
    "speedrun": Architecture(
        build=partial(Speedrun, bases=(64, 256, 256)),
        family="Speedrun",
        description="Patch whitening and six 3×3 convolutions, made for very short training",
        paper="Jordan 2024, https://arxiv.org/abs/2404.00498",
        activation="gelu",
        whitening=True,
    )
}
