"""Largest speed of this machine's matrix products and convolutions, in GFLOP/s.

The rest of a training step is measured against it: each multiply-add counts as two operations, and
a step as three forward passes (one forward, two gradients).
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from bench import report
from engine.randomness import keyed_generator

SIZE = 2048  # rows and columns of the matrices
BATCH = 64
# (channels, height and width) of a 3×3 convolution: the stages of a ResNet; the fastest counts.
CONVOLUTIONS = ((64, 32), (128, 16), (256, 8))
STEP_PASSES = 3
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def matrix_product(dtype: torch.dtype, device: torch.device) -> tuple[Callable[[], Tensor], float]:
    """A product of two square matrices, and its number of operations."""
    a, b = (_noise((SIZE, SIZE), dtype, device) for _ in range(2))
    return lambda: a @ b, 2 * SIZE**3


def convolutions(
    dtype: torch.dtype, device: torch.device
) -> list[tuple[Callable[[], Tensor], float]]:
    """3×3 convolutions in channels_last, and their numbers of operations."""
    found = []
    for channels, side in CONVOLUTIONS:
        x = _noise((BATCH, channels, side, side), dtype, device)
        w = _noise((channels, channels, 3, 3), dtype, device)
        x, w = (t.to(memory_format=torch.channels_last) for t in (x, w))
        operations = 2 * 9 * channels**2 * side**2 * BATCH
        found.append((lambda x=x, w=w: F.conv2d(x, w, padding=1), operations))
    return found


def measure(precision: str, device: torch.device, repeats: int) -> dict[str, list[float]]:
    """GFLOP/s of each repeat: {"matrix product": …, "3×3 convolution": …}."""
    dtype = DTYPES[precision]
    with torch.inference_mode():
        product = _rates([matrix_product(dtype, device)], device, repeats)[0]
        candidates = _rates(convolutions(dtype, device), device, repeats)
    return {"matrix product": product, "3×3 convolution": max(candidates, key=statistics.median)}


def _rates(
    pairs: list[tuple[Callable[[], Tensor], float]], device: torch.device, repeats: int
) -> list[list[float]]:
    def timed(work: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    calls = [timed(work) for work, _ in pairs]
    found = report.rates(calls, 1, repeats, warmups=3)
    return [
        [rate * operations / 1e9 for rate in rates]
        for rates, (_, operations) in zip(found, pairs, strict=True)
    ]


def _noise(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.randn(shape, generator=keyed_generator(1)).to(device, dtype)
