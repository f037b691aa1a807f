"""Weights depend on the seed alone, follow PyTorch's default scheme, and are all initialized."""

import math
import random

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from engine.models import NORMS, build_model
from engine.models.initialization import initialize
from engine.models.summary import count_parameters, summarize


def same(first, second):
    return all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )


@pytest.mark.parametrize("arch", ["resnet10", "resnext10", "vgg11", "convmixer256d8"])
def test_the_seed_decides_the_weights(arch):
    model = build_model(arch, width=0.25, seed=3)
    assert same(model, build_model(arch, width=0.25, seed=3))
    assert not same(model, build_model(arch, width=0.25, seed=4))


def test_the_global_random_state_is_neither_read_nor_written():
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    first = build_model("densenet121", width=0.25)
    summarize(first, batch_size=2)
    count_parameters("vgg16")
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    torch.manual_seed(2)
    assert same(first, build_model("densenet121", width=0.25))


@pytest.mark.parametrize("norm", NORMS)
def test_every_parameter_and_buffer_is_set(norm):
    model = build_model("vgg11", norm=norm, width=0.25, seed=5)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.fill_(77)
    initialize(model, torch.Generator().manual_seed(5))
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name
        assert not (value == 77).any(), name


def test_the_scheme_is_pytorchs_default():
    """Uniform within ±1/√fan_in, as nn.Conv2d and nn.Linear document; norms are the identity."""
    model = build_model("vgg11")
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for tensor in (module.weight, module.bias):
                assert tensor.abs().max() <= bound
            sample = module.weight.detach().flatten()[:5000] / bound
            expected = scipy.stats.uniform(-1, 2).cdf
            assert scipy.stats.kstest(sample.numpy(), expected).pvalue > 1e-4
            sample = module.bias.detach() / bound
            assert scipy.stats.kstest(sample.numpy(), expected).pvalue > 1e-4
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert (module.running_mean == 0).all()
            assert (module.running_var == 1).all()


@pytest.mark.parametrize("layer", [nn.PReLU(), nn.Conv1d(2, 2, 1)])
def test_a_layer_without_a_rule_is_refused(layer):
    with pytest.raises(TypeError, match=f"no initialization rule for 0 .{type(layer).__name__}"):
        initialize(nn.Sequential(layer), torch.Generator())
