"""ResNet, ResNeXt and Wide ResNet, with the stem for 32×32 images.

ResNet: He, Zhang, Ren, Sun 2015, "Deep Residual Learning for Image Recognition",
arXiv 1512.03385. ResNeXt: Xie, Girshick, Dollár, Tu, He 2016, "Aggregated Residual
Transformations for Deep Neural Networks", arXiv 1611.05431. Wide ResNet: Zagoruyko, Komodakis
2016, "Wide Residual Networks", arXiv 1605.07146.

The stem is one 3×3 convolution of stride 1 without max-pooling, as in section 4.2 of the first
paper; the stages are those of its table 1. Bottlenecks have their stride in the 3×3 convolution,
as in torchvision.
"""

from functools import partial

import torch
from torch import nn

from engine.models.base import Architecture, Head, ImageClassifier
from engine.models.layers import Layers, Subsample


class Block(nn.Module):
    """act(body(x) + shortcut(x)). The shortcut is a 1×1 projection where the shape changes.

    If the stride is above 1, `subsample` selects the positions that the projection reads.
    """

    def __init__(self, layers: Layers, body: nn.Sequential, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = body
        self.subsample = Subsample(stride) if stride > 1 else nn.Identity()
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, bias=False)
            self.shortcut = nn.Sequential(projection, layers.norm(outputs))
        self.activation = layers.activation()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(self.body(x) + self.shortcut(self.subsample(x)))


def basic(layers: Layers, inputs: int, base: int, stride: int, groups: int) -> tuple[Block, int]:
    """Two 3×3 convolutions, `base` output channels.

    With groups, the inner width is doubled and the second convolution is grouped.

    inputs: input channels of the block. base: channels at width 1. Returns the block and its
    number of output channels.
    """
    outputs = layers.channels(base, multiple_of=groups)
    inner = outputs if groups == 1 else layers.channels(2 * base, multiple_of=groups)
    body = nn.Sequential(
        nn.Conv2d(inputs, inner, 3, stride, padding=1, bias=False),
        layers.norm(inner),
        layers.activation(),
        nn.Conv2d(inner, outputs, 3, padding=1, groups=groups, bias=False),
        layers.norm(outputs),
    )
    return Block(layers, body, inputs, outputs, stride), outputs


def bottleneck(
    layers: Layers, inputs: int, base: int, stride: int, groups: int
) -> tuple[Block, int]:
    """1×1, 3×3 and 1×1 convolutions, 4·`base` output channels.

    With groups, the inner width is doubled and the 3×3 convolution is grouped.

    inputs: input channels of the block. base: channels at width 1. Returns the block and its
    number of output channels.
    """
    outputs = layers.channels(4 * base)
    inner = layers.channels(base if groups == 1 else 2 * base, multiple_of=groups)
    body = nn.Sequential(
        nn.Conv2d(inputs, inner, 1, bias=False),
        layers.norm(inner),
        layers.activation(),
        nn.Conv2d(inner, inner, 3, stride, padding=1, groups=groups, bias=False),
        layers.norm(inner),
        layers.activation(),
        nn.Conv2d(inner, outputs, 1, bias=False),
        layers.norm(outputs),
    )
    return Block(layers, body, inputs, outputs, stride), outputs


class ResNet(ImageClassifier):
    """Stem, four stages of `depths` blocks, head: (B, 3, 32, 32) -> (B, num_classes) logits.

    `base` is the channel count of the stem and the first stage at width 1; each stage doubles it.
    """

    cam_layer = "stages.2"  # 8×8; the last stage is 4×4

    def __init__(self, layers: Layers, num_classes: int, *, block, depths, base=64, groups=1):
        super().__init__()
        channels = layers.channels(base)
        self.stem = nn.Sequential(
            nn.Conv2d(layers.inputs, channels, 3, padding=1, bias=False),
            layers.norm(channels),
            layers.activation(),
        )
        stages = []
        for stage, depth in enumerate(depths):  # 32×32, 16×16, 8×8, 4×4
            blocks = []
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                made, channels = block(layers, channels, base * 2**stage, stride, groups)
                blocks.append(made)
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.head = Head(channels, num_classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.stages(self.stem(x))


DEPTHS = {
    "10": (basic, (1, 1, 1, 1)),
    "18": (basic, (2, 2, 2, 2)),
    "34": (basic, (3, 4, 6, 3)),
    "50": (bottleneck, (3, 4, 6, 3)),
    "101": (bottleneck, (3, 4, 23, 3)),
    "152": (bottleneck, (3, 8, 36, 3)),
}

RESNETS = {
    f"resnet{depth}": Architecture(
        build=partial(ResNet, block=block, depths=depths),
        family="ResNet",
        description=f"Residual network of {block.__name__} blocks with {depth} layers",
        paper="He et al. 2015, https://arxiv.org/abs/1512.03385",
    )
    for depth, (block, depths) in DEPTHS.items()
}

RESNEXTS = {
    f"resnext{depth}": Architecture(
        build=partial(ResNet, block=block, depths=depths, groups=32),
        family="ResNeXt",
        description=f"ResNet-{depth} with inner widths doubled and split into 32 groups",
        paper="Xie et al. 2016, https://arxiv.org/abs/1611.05431",
    )
    for depth, (block, depths) in DEPTHS.items()
}

WIDE_RESNETS = {
    "wideresnet14": Architecture(
        build=partial(ResNet, block=basic, depths=(2, 2, 1, 1), base=128),
        family="Wide ResNet",
        description="Residual network of basic blocks with 14 layers, all twice as wide",
        paper="Zagoruyko and Komodakis 2016, https://arxiv.org/abs/1605.07146",
    )
}
