"""NumPy views of tensors in the layouts of the compiled loops."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# Target length of a row, the inner loop of the kernels: each inner loop has a start-up cost.
ROW = 256


def as_images(x: Tensor) -> np.ndarray:
    """bf16 (B, C, H, W), channels_last -> view of its bits, uint16 (B, H, W, C)."""
    return x.detach().permute(0, 2, 3, 1).view(torch.uint16).numpy()


def as_rows(x: Tensor) -> np.ndarray:
    """bf16 (B, C, H, W), channels_last -> view of its bits, uint16 (B · H · W, C)."""
    bits = as_images(x)
    return bits.reshape(-1, bits.shape[3])


def as_wide_rows(parts: int, *tensors: Tensor) -> list[np.ndarray]:
    """`as_rows` for tensors of one shape, with several positions per row if channels are few.

    (N, C) becomes (N / n, n · C), where n is the largest power of two that divides N and keeps
    n · C within ROW. parts: 1, or the batch size if no row may hold positions of two images.
    """
    rows = [as_rows(x) for x in tensors]
    count, channels = rows[0].shape
    positions = 1
    while 2 * positions * channels <= ROW and count // parts % (2 * positions) == 0:
        positions *= 2
    return [r.reshape(count // positions, positions * channels) for r in rows]


def tile(rows: np.ndarray, *values: np.ndarray) -> list[np.ndarray]:
    """Values per channel (…, C) in fp32, repeated for each position in a row of `as_wide_rows`."""
    return [np.tile(v.astype(np.float32), (1, rows.shape[1] // v.shape[1])) for v in values]
