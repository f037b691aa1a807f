"""Random erasing against torchvision's."""

import pytest
import scipy.stats
import torch
from torchvision.transforms import RandomErasing as Reference

from engine.augment import ErasingParams, RandomErasing
from engine.errors import ConfigError

COUNT = 4000


def reference_rectangles(height, width, scale, ratio):
    """(COUNT, 4) of top, left, height, width from torchvision; rows of 0 for nothing erased."""
    image, rows = torch.zeros(3, height, width), []
    with torch.random.fork_rng(devices=[]):  # torchvision uses the global generator
        torch.manual_seed(6)
        for _ in range(COUNT):
            top, left, h, w, value = Reference.get_params(image, scale, ratio, [0.0])
            nothing = value is image
            rows.append((0, 0, 0, 0) if nothing else (top, left, h, w))
    return torch.tensor(rows)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [
        (32, 32, (0.02, 0.33), (0.3, 3.3)),
        (24, 40, (0.02, 0.33), (0.3, 3.3)),
        (32, 32, (0.5, 1.0), (0.2, 5.0)),  # most first attempts do not fit
        (32, 32, (0.93, 1.0), (0.5, 2.0)),  # often none of the ten fits
    ],
)
def test_rectangles_are_distributed_as_in_torchvision(height, width, scale, ratio):
    expected = reference_rectangles(height, width, scale, ratio)
    erasing = RandomErasing(1.0, scale, ratio)
    params = erasing.sample((COUNT, 3, height, width), torch.Generator().manual_seed(7))
    found = torch.stack(params, dim=1)
    for name, ours, theirs in [
        ("area", found[:, 2] * found[:, 3], expected[:, 2] * expected[:, 3]),
        *zip(ErasingParams._fields, found.T, expected.T, strict=True),
    ]:
        assert scipy.stats.ks_2samp(ours.numpy(), theirs.numpy()).pvalue > 1e-3, name


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_probability(p):
    params = RandomErasing(p).sample((5000, 3, 32, 32), torch.Generator().manual_seed(8))
    erased = int((params.height > 0).sum())
    assert scipy.stats.binomtest(erased, 5000, p).pvalue > 1e-3
    for values in params:
        assert not values[params.height == 0].any()


def test_rectangles_lie_inside_and_reach_every_edge():
    params = RandomErasing(1.0).sample((5000, 3, 20, 30), torch.Generator().manual_seed(9))
    bottom, right = params.top + params.height, params.left + params.width
    assert params.top.min() == 0
    assert params.left.min() == 0
    assert bottom.max() == 20
    assert right.max() == 30


def test_nothing_is_erased_where_nothing_fits():
    whole = RandomErasing(1.0, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    params = whole.sample((16, 3, 32, 32), torch.Generator().manual_seed(10))
    assert not torch.stack(params).any()
    images = torch.ones(16, 3, 32, 32)
    assert torch.equal(whole.apply(images, params), images)


def test_each_image_loses_its_own_rectangle():
    images = torch.randn(40, 3, 16, 24, generator=torch.Generator().manual_seed(11))
    erasing = RandomErasing()
    params = erasing.sample(images.shape, torch.Generator().manual_seed(12))
    assert len(set(zip(*(p.tolist() for p in params), strict=True))) > 10
    expected = images.clone()
    for image, top, left, height, width in zip(
        expected, *(p.tolist() for p in params), strict=True
    ):
        image[:, top : top + height, left : left + width] = 0
    assert torch.equal(erasing.apply(images, params), expected)


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("augment.erase_p", {"p": -0.1}),
        ("augment.erase_scale", {"scale": (0.5, 0.2)}),
        ("augment.erase_scale", {"scale": (0.1, 1.2)}),
        ("augment.erase_ratio", {"ratio": (0.0, 1.0)}),
        ("augment.erase_ratio", {"ratio": (2.0, 1.0)}),
    ],
)
def test_impossible_values_name_their_field(field, arguments):
    with pytest.raises(ConfigError) as caught:
        RandomErasing(**arguments)
    assert caught.value.field == field
