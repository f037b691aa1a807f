"""Fingerprint of a data set: its identity by contents, independent of its path."""

import hashlib
from dataclasses import replace
from typing import Any

from torch import Tensor

from engine.data.types import ImageData


def with_fingerprint(data: ImageData) -> ImageData:
    """Add the fingerprint to `data`, unless it has one.

    For each split: the number of images, and SHA-256 digests of the uint8 images and of the int64
    labels, in order. About 0.2 s for 60,000 images.
    """
    if data.fingerprint:
        return data
    splits = {
        "train": (data.train_images, data.train_labels),
        "test": (data.test_images, data.test_labels),
    }
    return replace(data, fingerprint={name: _digests(*split) for name, split in splits.items()})


def _digests(images: Tensor, labels: Tensor) -> dict[str, Any]:
    return {"count": len(labels), "images": _sha256(images), "labels": _sha256(labels)}


def _sha256(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().numpy()).hexdigest()
