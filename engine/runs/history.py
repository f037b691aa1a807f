"""Predictions for the validation images after each epoch: `predictions.u8` in a run's folder.

One byte for each image, one row for each epoch, in order; UNKNOWN where an epoch has none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from engine.files import open_regular

NAME = "predictions.u8"
UNKNOWN = 255  # of an epoch before the run's program kept predictions, or whose row was lost
MAX_CLASSES = UNKNOWN
MAX_BYTES = 2**30


def to_row(predicted: Sequence[Tensor], classes: int) -> bytes:
    """Predicted labels, int64, as the row of an epoch; empty if a byte cannot hold so many classes.

    predicted: parts that are joined.
    """
    if classes > MAX_CLASSES:
        return b""
    return torch.cat(list(predicted)).to(torch.uint8).cpu().numpy().tobytes()


def read(folder: Path, images: int) -> np.ndarray:
    """uint8 [epochs, images]; no epochs if there is no file. An incomplete last row is left out."""
    try:
        with open_regular(folder / NAME) as file:
            content = file.read(MAX_BYTES)
    except OSError:
        content = b""
    epochs = len(content) // images if images else 0
    return np.frombuffer(content, np.uint8, epochs * images).reshape(epochs, images)


def trim(path: Path, epochs: int, images: int) -> None:
    """Keep the first `epochs` rows; missing ones become UNKNOWN. Raises OSError."""
    if not epochs and not path.exists():
        return
    size = epochs * images
    with path.open("ab") as file:
        present = file.tell()
        file.truncate(min(size, present))
        file.seek(0, os.SEEK_END)
        file.write(bytes([UNKNOWN]) * (size - present))


def append(path: Path, epoch: int, predicted: bytes) -> None:
    """Write the row of `epoch`, from 1, synced to disk; later rows are dropped. Raises OSError."""
    trim(path, epoch - 1, len(predicted))
    with path.open("ab") as file:
        file.write(predicted)
        file.flush()
        os.fsync(file.fileno())
