"""The augmentation pipeline: from uint8 images to the input of the network."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch

from engine.augment.erasing import ErasingParams, RandomErasing
from engine.augment.geometric import (
    CropParams,
    FlipParams,
    RandomCrop,
    RandomHorizontalFlip,
    Shape,
    to_device,
)
from engine.augment.mixing import CutMix, CutMixParams, Mixed, Mixup, MixupParams

PerChannel = tuple[float, ...]  # one number per channel, for pixel values from 0 to 1


def normalize(images: torch.Tensor, mean: PerChannel, std: PerChannel) -> torch.Tensor:
    """(images / 255 - mean) / std: the preprocessing of training, evaluation and classification.

    images: (B, C, H, W) uint8. Returns float32 on the same device. Raises TypeError for any other
    dtype, whose values may have been scaled already.
    """
    if images.dtype != torch.uint8:
        raise TypeError(f"normalize takes uint8 images, not {images.dtype}")
    values = [1 / (255 * s) for s in std], [m / s for m, s in zip(mean, std, strict=True)]
    (values,) = to_device([torch.tensor(values).view(2, -1, 1, 1)], images.device)
    # In place on the float copy, as x · 1/(255·std) - mean/std: two passes instead of three.
    return images.float().mul_(values[0]).sub_(values[1])


def denormalize(images: torch.Tensor, mean: PerChannel, std: PerChannel) -> torch.Tensor:
    """Inverse of `normalize`, for display: float (B, C, H, W) -> uint8, clamped to 0…255."""
    mean_, std_ = to_device([torch.tensor(mean), torch.tensor(std)], images.device)
    pixels = images * std_[:, None, None] + mean_[:, None, None]
    return pixels.mul_(255).round_().clamp_(0, 255).to(torch.uint8)


class PipelineParams(NamedTuple):
    """Augmentation parameters of one batch; None for a step that this batch skips."""

    crop: CropParams | None
    flip: FlipParams | None
    erasing: ErasingParams | None
    mixup: MixupParams | None
    cutmix: CutMixParams | None


class Stage(NamedTuple):
    """The batch after the step `name`; images are uint8 before "normalize", then float32."""

    name: str  # input, crop, flip, normalize, erasing, mixup, cutmix
    images: torch.Tensor  # (B, C, H, W)
    targets_a: torch.Tensor  # (B,) int64
    targets_b: torch.Tensor  # (B,) int64; the same tensor as targets_a without mixing
    lam: float  # weight of targets_a, 0 to 1


@dataclass(frozen=True)
class Pipeline:
    """Crop, flip, normalize, erase, then mix. None disables a step.

    With both Mixup and CutMix enabled, each batch uses one of the two with probability 1/2.
    """

    mean: PerChannel
    std: PerChannel
    crop: RandomCrop | None = None
    flip: RandomHorizontalFlip | None = None
    erasing: RandomErasing | None = None
    mixup: Mixup | None = None
    cutmix: CutMix | None = None

    def sample(self, batch_shape: Shape, generator: torch.Generator) -> PipelineParams:
        """Draw the parameters of a batch (B, C, H, W) from a CPU `generator`."""
        params = {
            name: step and step.sample(batch_shape, generator)
            for name, step in [("crop", self.crop), ("flip", self.flip), ("erasing", self.erasing)]
        }
        mixup, cutmix = self.mixup, self.cutmix
        if mixup and cutmix:
            if torch.rand((), generator=generator) < 0.5:
                mixup = None
            else:
                cutmix = None
        return PipelineParams(
            **params,
            mixup=mixup and mixup.sample(batch_shape, generator),
            cutmix=cutmix and cutmix.sample(batch_shape, generator),
        )

    def apply(self, images: torch.Tensor, labels: torch.Tensor, params: PipelineParams) -> Mixed:
        """Return (images, targets_a, targets_b, lam), the input of a training step.

        images: (B, C, H, W) uint8, labels: (B,) int64 on the same device; neither is changed.
        The returned images are float32. Without mixing, targets_b is targets_a and lam is 1.
        """
        for stage in self._steps(images, labels, params):
            last = stage
        return last[1:]

    def stages(
        self, images: torch.Tensor, labels: torch.Tensor, params: PipelineParams
    ) -> list[Stage]:
        """The input and the batch after each step in use; the last is what `apply` returns."""
        return list(self._steps(images, labels, params))

    def _steps(
        self, images: torch.Tensor, labels: torch.Tensor, params: PipelineParams
    ) -> Iterator[Stage]:
        yield Stage("input", images, labels, labels, 1.0)
        if params.crop is not None:
            images = self.crop.apply(images, params.crop)
            yield Stage("crop", images, labels, labels, 1.0)
        if params.flip is not None:
            images = self.flip.apply(images, params.flip)
            yield Stage("flip", images, labels, labels, 1.0)
        images = normalize(images, self.mean, self.std)
        yield Stage("normalize", images, labels, labels, 1.0)
        if params.erasing is not None:
            images = self.erasing.apply(images, params.erasing)
            yield Stage("erasing", images, labels, labels, 1.0)
        if params.mixup is not None:
            yield Stage("mixup", *self.mixup.apply(images, labels, params.mixup))
        if params.cutmix is not None:
            yield Stage("cutmix", *self.cutmix.apply(images, labels, params.cutmix))
