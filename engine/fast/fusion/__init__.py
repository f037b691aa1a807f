"""Fused layers for training in bf16 on a CPU: norm, residual addition, activation and pooling.

The loops are compiled by numba, which is imported on first use.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch


def loops() -> ModuleType:
    """The module of the compiled loops, set to use as many threads as torch.

    Raises ImportError without numba, and numba's own errors if it cannot start its threads.
    """
    kernels = importlib.import_module("engine.fast.fusion.kernels")
    importlib.import_module("engine.fast.fusion.jit").use_threads(torch.get_num_threads())
    return kernels
