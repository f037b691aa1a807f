"""Whether fused layers compute what PyTorch's compute one by one, in fp64."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from engine import fast
from engine.device import Compute
from engine.fast import dense, fused, kinds, norm_activation
from engine.fast.fused import fuse

BF16 = Compute(torch.device("cpu"), "bf16")
TOLERANCE = 0.01  # relative, of a whole tensor: some roundings of 2^-9
THROUGH_CONVOLUTIONS = 0.05  # which are in bf16 as well, and move some values over a kink


@pytest.fixture
def on_any_cpu(monkeypatch):
    """The layers are right on any CPU; here they are used on any."""
    monkeypatch.setattr(fast, "fastest_precision", lambda device: "bf16")
    monkeypatch.setattr(fused, "fastest_precision", lambda device: "bf16")


@pytest.fixture
def fusions(monkeypatch):
    """The kinds of activation that were computed by the compiled loops, in order."""
    names, taken = kinds.ACTIVATIONS, []
    for function in (norm_activation._Fused, dense._Read):
        apply = function.apply
        noted = lambda *a, apply=apply: taken.append(names[a[4]]) or apply(*a)  # noqa: E731
        monkeypatch.setattr(function, "apply", noted)
    return taken


def distance(result, expected) -> float:
    return ((result.double() - expected.double()).norm() / expected.double().norm()).item()


def images(*shape, mean=0.0, seed=1):
    """Noise in bf16, channels_last, as a convolution leaves it."""
    draw = torch.Generator().manual_seed(seed)
    noise = mean + torch.randn(shape, generator=draw)
    return noise.bfloat16().contiguous(memory_format=torch.channels_last)


def with_noise(module):
    draw = torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.2, 1, generator=draw)
    return module


def both_ways(module, *inputs):
    """(outputs, gradients of inputs and parameters, buffers) of `module` in fp64 and fused."""
    exact, faster = copy.deepcopy(module).double(), fuse(copy.deepcopy(module), BF16)
    found = []
    for network, values in ((exact, [x.double() for x in inputs]), (faster, inputs)):
        values = [x.clone().requires_grad_() for x in values]
        with torch.autocast("cpu", torch.bfloat16, enabled=network is faster):
            y = network(*values)
        grad = images(*y.shape, seed=3).to(y.dtype)
        slopes = torch.autograd.grad(y, [*values, *network.parameters()], grad)
        found.append([y, *slopes, *network.buffers()])
    return found


def check(module, *inputs, tolerance=TOLERANCE):
    exact, faster = both_ways(module, *inputs)
    assert faster[0].dtype is torch.bfloat16
    for image in faster[: 1 + len(inputs)]:
        assert image.is_contiguous(memory_format=torch.channels_last)
    for result, value in zip(faster, exact, strict=True):
        assert result.shape == value.shape
        assert distance(result, value) < tolerance


ACTIVATIONS = {
    "relu": nn.ReLU(),
    "leaky_relu": nn.LeakyReLU(),
    "elu": nn.ELU(),
    "gelu": nn.GELU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
}
