"""Loss and accuracy of a network on clean images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.augment import normalize
from engine.augment.pipeline import PerChannel
from engine.config import AugmentConfig
from engine.device import Compute

EVAL_BATCH = 500


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Views of an image over which logits are averaged; only those that training produces as well.

    Jordan 2024, arXiv 2404.00498, section 3.5, uses six: the original image (half the weight), the
    image shifted by one pixel up and to the left, and down and to the right (a quarter each), and
    the mirror image of each of the three.
    """

    __test__ = False  # not a test class

    mirror: bool = True
    shift: bool = True

    @classmethod
    def like_training(cls, augment: AugmentConfig) -> TestTimeAugmentation:
        """Mirrors if training flips any image, shifts if training crops."""
        return cls(mirror=augment.flips_any, shift=augment.crop)

    @property
    def count(self) -> int:
        """Number of views of an image: 1, 2, 3 or 6."""
        return (2 if self.mirror else 1) * (3 if self.shift else 1)

    def views(self, images: Tensor) -> list[tuple[float, Tensor]]:
        """Views of images [B, 3, H, W], each with its weight; the weights sum to 1."""
        views = [(1.0, images)]
        if self.shift:
            height, width = images.shape[2:]
            padded = F.pad(images, [1] * 4, mode="reflect")
            shifted = [padded[:, :, i : i + height, i : i + width] for i in (0, 2)]
            views = [(0.5, images), *((0.25, view) for view in shifted)]
        if self.mirror:
            views = [(w / 2, v) for w, view in views for v in (view, view.flip(-1))]
        return views


@dataclass
class Tally:
    """Running sums over the images seen so far."""

    loss_sum: float = 0.0
    correct: int = 0
    count: int = 0
    predicted: list[Tensor] = field(default_factory=list)  # labels of each batch, int64

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.count)

    @property
    def acc(self) -> float:
        return self.correct / max(1, self.count)


def predict_logits(
    model: nn.Module,
    images: Tensor,
    mean: PerChannel,
    std: PerChannel,
    compute: Compute,
    *,
    tta: TestTimeAugmentation | None = None,
) -> Tensor:
    """Float32 logits [B, classes] of uint8 images [B, 3, 32, 32].

    tta: average the logits over these views of each image; None: the original only.
    The model must be in eval mode.
    """
    with torch.inference_mode(), compute.autocast():
        inputs = normalize(images, mean, std).to(memory_format=compute.memory_format)
        if tta is None:
            return model(inputs).float()
        return sum(weight * model(view).float() for weight, view in tta.views(inputs))


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    mean: PerChannel,
    std: PerChannel,
    compute: Compute,
    tally: Tally,
    *,
    tta: TestTimeAugmentation | None = None,
) -> Iterator[None]:
    """Add all images to `tally`, yielding after each batch. Restores the model's mode at the end.

    images: uint8 [N, 3, 32, 32], labels: int64 [N], on the compute device.
    """
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(images), EVAL_BATCH):
            part = slice(start, start + EVAL_BATCH)
            logits = predict_logits(model, images[part], mean, std, compute, tta=tta)
            tally.loss_sum += F.cross_entropy(logits, labels[part], reduction="sum").item()
            predicted = logits.argmax(1)
            tally.correct += int((predicted == labels[part]).sum())
            tally.predicted.append(predicted)
            tally.count += len(logits)
            yield
    finally:
        model.train(was_training)
