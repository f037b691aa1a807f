"""Patch whitening: its output is decorrelated, and any network can begin with it."""

import pytest
import torch

from engine.models import build_model, whitening
from engine.models.summary import count_parameters, summarize
from engine.models.whitening import CHANNELS, Whitening


def correlated_images():
    """Spatially smooth images with correlated channels, as in photographs."""
    noise = torch.randn(64, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    return smooth + smooth.mean(1, keepdim=True)


def test_its_output_is_white():
    images = correlated_images()
    layer = Whitening(same=False)
    layer.fit(images)
    half = layer(images)[:, : CHANNELS // 2].detach()
    flat = half.permute(1, 0, 2, 3).flatten(1)
    covariance = flat @ flat.T / flat.shape[1]
    off_diagonal = covariance - covariance.diag().diag()
    assert off_diagonal.abs().max() < 1e-3
    assert (covariance.diag() <= 1 + 1e-3).all()
    assert covariance.diag().max() > 0.95  # EPSILON reduces the smallest


def test_the_second_half_is_the_negative_of_the_first():
    layer = Whitening(same=True)
    layer.fit(correlated_images())
    first, second = layer.weight.chunk(2)
    assert torch.equal(first, -second)
    assert first.any()


@pytest.mark.parametrize(("same", "side"), [(True, 32), (False, 31)])
def test_shape(same, side):
    assert Whitening(same=same)(torch.zeros(2, 3, 32, 32)).shape == (2, CHANNELS, side, side)


def test_its_filters_are_a_buffer():
    layer = Whitening(same=True)
    assert not list(layer.parameters())
    assert {name for name, _ in layer.named_buffers()} == {"weight"}


@pytest.mark.parametrize("arch", ["resnet10", "vgg11", "densenet121", "convmixer256d8"])
def test_any_network_can_begin_with_it(arch):
    model = build_model(arch, width=0.25, whitening=True)
    assert isinstance(whitening.find(model), Whitening)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert whitening.find(build_model(arch, width=0.25)) is None
    assert count_parameters(arch, whitening=True) > count_parameters(arch)


def test_the_speedrun_network_has_its_own_only_once():
    layers = [
        [m for m in build_model("speedrun", whitening=asked).modules() if isinstance(m, Whitening)]
        for asked in (False, True)
    ]
    assert [len(found) for found in layers] == [1, 1]


def test_the_summary_counts_it():
    rows = {row.name: row for row in summarize(build_model("speedrun"), batch_size=1).layers}
    assert rows["stem.0"].macs == CHANNELS * 3 * 2 * 2 * 31 * 31
