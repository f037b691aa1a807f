"""Any CPU as the one that the faster layers are made for, and what they computed."""

import importlib

import pytest
import torch

from engine.fast.conv.layers import FastConv
from engine.fast.fusion.activations import ACTIVATIONS
from engine.fast.registry import REPLACEMENTS

KERNELS = "engine.fast.fusion.kernels"  # imported where needed: numba is installed on x86 only


@pytest.fixture
def cpu(monkeypatch):
    """cpu(amx=True, …) lets this computer pass for one with these instructions and kernels."""
    real = torch.cpu.get_capabilities()

    def pretend(*, amx: bool = False, avx512_bf16: bool = False, kernels: bool = True):
        told = {**real, "amx_bf16": amx, "avx512_bf16": avx512_bf16}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)
        monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: kernels)

    return pretend


@pytest.fixture
def on_any_cpu(cpu):
    """The layers are right on any CPU; here they are used on any."""
    cpu(amx=True, avx512_bf16=True)


@pytest.fixture(params=[False, True], ids=["dot products", "AMX"])
def amx(request, cpu):
    """Whether this computer passes for one with AMX; if not, for one with AVX512-BF16."""
    cpu(amx=request.param, avx512_bf16=True)
    return request.param


@pytest.fixture
def chosen(monkeypatch):
    """The replacements by which convolutions were computed, in order; PyTorch's own left out."""
    names, choose = {row.algorithm: row.name for row in REPLACEMENTS}, FastConv.choose
    taken = []

    def noted(self, x):
        if (algorithm := choose(self, x)) is not None:
            taken.append(names[algorithm])
        return algorithm

    monkeypatch.setattr(FastConv, "choose", noted)
    return taken


@pytest.fixture
def fusions(monkeypatch):
    """The activations that were computed by the compiled loops, in order."""
    kernels = importlib.import_module(KERNELS)
    names, make = [], kernels.activation

    def activation(kind, residual):
        loop = make(kind, residual)

        def noted(x, other, out, scale, shift):
            if out.size > 1:  # smaller ones are only compiled for
                names.append(ACTIVATIONS[kind])
            loop(x, other, out, scale, shift)

        return noted

    monkeypatch.setattr(kernels, "activation", activation)
    return names


@pytest.fixture
def pools(monkeypatch):
    """An entry for each max-pooling that was computed by the compiled loops."""
    kernels = importlib.import_module(KERNELS)
    shapes, pool = [], kernels.max_pool2x2

    def noted(x, out, indices):
        if out.size > 1:
            shapes.append(out.shape)
        pool(x, out, indices)

    monkeypatch.setattr(kernels, "max_pool2x2", noted)
    return shapes
