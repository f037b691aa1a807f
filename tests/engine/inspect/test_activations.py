"""Layers, their outputs, and the first filters."""

import pytest
import torch
from torch import nn

from engine.inspect.activations import activation_maps, first_filters, layers
from engine.models import build_model


@pytest.fixture(scope="module")
def model():
    return build_model("resnet10", 10, width=0.125, seed=0).eval()


def test_each_layer_gives_maps_of_its_shape(model):
    x = torch.randn(1, 3, 32, 32)
    rows = layers(model)
    assert rows[-1].output_shape == (10,)
    for row in rows:
        assert activation_maps(model, x, row.name).shape == row.output_shape
    assert not any(module._forward_hooks for module in model.modules())


def test_an_unknown_layer(model):
    with pytest.raises(ValueError, match="has no layer"):
        activation_maps(model, torch.zeros(1, 3, 32, 32), "stem.9")


def test_filters_are_stretched_around_mid_gray(model):
    found = first_filters(model)
    first = next(m for m in model.modules() if isinstance(m, nn.Conv2d))
    assert model.get_submodule(found.layer) is first
    assert not found.is_whitening
    assert found.images.shape == first.weight.shape
    largest = (found.images.float() - 127.5).abs().amax((1, 2, 3))
    assert (largest > 127).all()
    zero = build_model("resnet10", 10, width=0.125, seed=0)
    nn.init.zeros_(zero.get_submodule(found.layer).weight)
    assert first_filters(zero).images.unique().tolist() == [128]


def test_the_whitening_layer_is_named():
    assert first_filters(build_model("speedrun", 10, width=0.125)).is_whitening
