"""Comparison of faster and fused modules with PyTorch's own, in fp64."""

from __future__ import annotations

import copy

import torch
from torch import nn

from engine.device import Compute
from engine.fast import accelerate, without
from engine.fast.activations import FastCELU, FastELU
from engine.fast.conv.layers import Bf16Conv
from engine.fast.norms import FastGroupNorm, FastInstanceNorm
from engine.fast.registry import REPLACEMENTS

BF16 = Compute(torch.device("cpu"), "bf16")
FASTER_BF16 = {Bf16Conv, FastGroupNorm, FastInstanceNorm, FastELU, FastCELU}
TOLERANCE = 0.01  # ‖difference‖ / ‖expected‖ of a tensor; bf16 rounds by up to 2^-9
THROUGH_CONVOLUTIONS = 0.05  # likewise; they compute in bf16, and values cross a kink


def faster_layers(model):
    """`accelerate` as in inference, where nothing is fused."""
    return accelerate(model, BF16, training=False)


def fuse(module):
    """`accelerate` with the fusions alone."""
    with without(*(row.name for row in REPLACEMENTS if not row.fusion)):
        return accelerate(module, BF16, training=True)


def distance(result, expected) -> float:
    return ((result.double() - expected.double()).norm() / expected.double().norm()).item()


def images(*shape, mean=0.0, seed=1):
    """Normal noise, bf16 (B, C, H, W), channels_last."""
    draw = torch.Generator().manual_seed(seed)
    noise = mean + torch.randn(shape, generator=draw)
    return noise.bfloat16().contiguous(memory_format=torch.channels_last)


def with_noise(module):
    """The module with parameters uniform in [0.2, 1]."""
    draw = torch.Generator().manual_seed(2)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.2, 1, generator=draw)
    return module


def both_ways(module, *inputs):
    """(outputs, gradients of inputs and parameters, buffers) of `module` in fp64 and fused."""
    exact, faster = copy.deepcopy(module).double(), fuse(copy.deepcopy(module))
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
    """Assert that outputs, gradients and buffers of `both_ways` agree."""
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
