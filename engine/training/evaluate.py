"""Loss and accuracy of a network on clean images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.augment import normalize
from engine.augment.pipeline import Colour
from engine.device import Compute

EVAL_BATCH = 500


@dataclass
class Tally:
    """Running sums over the images seen so far."""

    loss_sum: float = 0.0
    correct: int = 0
    count: int = 0

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.count)

    @property
    def acc(self) -> float:
        return self.correct / max(1, self.count)


def predict_logits(
    model: nn.Module,
    images: Tensor,
    mean: Colour,
    std: Colour,
    compute: Compute,
    *,
    tta: bool = False,
) -> Tensor:
    """Float32 logits [B, classes] of uint8 images [B, 3, 32, 32].

    With `tta` (test-time augmentation), the mean over six views of each image, as in Jordan 2024,
    arXiv 2404.00498, section 3.5: as it is (half the weight) and moved by one pixel up and to the
    left, or down and to the right (a quarter each), and the mirror image of each of the three.
    The caller has put the model into eval mode.
    """
    with torch.inference_mode(), compute.autocast():
        inputs = normalize(images, mean, std).to(memory_format=compute.memory_format)
        if not tta:
            return model(inputs).float()
        height, width = inputs.shape[2:]
        padded = F.pad(inputs, [1] * 4, mode="reflect")
        moved = [padded[:, :, i : i + height, i : i + width] for i in (0, 2)]
        weighted = [(0.5, inputs), *((0.25, view) for view in moved)]
        return sum(
            share / 2 * model(view).float()
            for share, both in weighted
            for view in (both, both.flip(-1))
        )


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    mean: Colour,
    std: Colour,
    compute: Compute,
    tally: Tally,
    *,
    tta: bool = False,
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
            tally.correct += int((logits.argmax(1) == labels[part]).sum())
            tally.count += len(logits)
            yield
    finally:
        model.train(was_training)
