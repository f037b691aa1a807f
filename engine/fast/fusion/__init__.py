"""Fused layers for training in bf16 on a CPU: norm, residual addition, activation and pooling.

The loops are compiled by numba, which is imported at their first use only.
"""

from __future__ import annotations

import importlib
from types import ModuleType

import torch


def loops() -> ModuleType:
    """Module of the compiled loops, which from here on use as many threads as torch does.

    Raises ImportError without numba, and whatever numba raises where it cannot start its threads.
    """
    kernels = importlib.import_module("engine.fast.fusion.kernels")
    importlib.import_module("engine.fast.fusion.jit").use_threads(torch.get_num_threads())
    return kernels
