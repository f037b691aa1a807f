"""Batched augmentations as pure functions of their sampled parameters.

`params = augmentation.sample(batch_shape, generator)` draws everything random, and
`augmentation.apply(images, params)` is deterministic and out of place, on any device.
"""

from engine.augment.erasing import ErasingParams, RandomErasing
from engine.augment.geometric import CropParams, FlipParams, RandomCrop, RandomHorizontalFlip
from engine.augment.mixing import CutMix, CutMixParams, Mixup, MixupParams
from engine.augment.pipeline import Pipeline, PipelineParams, Stage, denormalize, normalize

__all__ = [
    "CropParams",
    "CutMix",
    "CutMixParams",
    "ErasingParams",
    "FlipParams",
    "Mixup",
    "MixupParams",
    "Pipeline",
    "PipelineParams",
    "RandomCrop",
    "RandomErasing",
    "RandomHorizontalFlip",
    "Stage",
    "denormalize",
    "normalize",
]
