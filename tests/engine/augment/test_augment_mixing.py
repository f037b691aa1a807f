"""Mixup and CutMix against their papers' formulas."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from engine.augment import CutMix, CutMixParams, Mixup, MixupParams
from engine.errors import ConfigError

SHAPE = (8, 3, 32, 32)
LABELS = torch.arange(8) + 10


def test_mixup_is_the_weighted_sum_of_two_images():
    images = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    mixed, targets_a, targets_b, lam = Mixup().apply(images, LABELS, MixupParams(order, 0.3))
    for index, partner in enumerate(order.tolist()):
        expected = 0.3 * images[index] + 0.7 * images[partner]
        torch.testing.assert_close(mixed[index], expected)
        assert targets_b[index] == LABELS[partner]
    assert torch.equal(targets_a, LABELS)
    assert lam == 0.3


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_mixup_lambda_is_beta_distributed(alpha):
    mixup, generator = Mixup(alpha), torch.Generator().manual_seed(2)
    lams = [mixup.sample((2, 3, 8, 8), generator).lam for _ in range(3000)]
    assert scipy.stats.kstest(lams, scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-3


@pytest.mark.parametrize("mixing", [Mixup(), CutMix()])
def test_the_partners_are_a_permutation_and_change(mixing):
    generator = torch.Generator().manual_seed(3)
    orders = [mixing.sample((64, 3, 8, 8), generator).order for _ in range(2)]
    for order in orders:
        assert order.sort().values.tolist() == list(range(64))
    assert not torch.equal(*orders)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (12, 20)])
def test_cutmix_keeps_the_share_lambda(height, width):
    """Image i has the constant value i, so that every pixel identifies its source."""
    images = torch.arange(8.0)[:, None, None, None].expand(8, 3, height, width)
    cutmix, generator = CutMix(), torch.Generator().manual_seed(4)
    lams = set()
    for _ in range(200):
        params = cutmix.sample(images.shape, generator)
        mixed, targets_a, targets_b, lam = cutmix.apply(images, LABELS, params)
        assert torch.equal(targets_a, LABELS)
        assert torch.equal(targets_b, LABELS[params.order])
        box = torch.zeros(height, width, dtype=torch.bool)
        box[params.top : params.bottom, params.left : params.right] = True
        partners = params.order.float()[:, None, None, None]
        assert torch.equal(mixed, torch.where(box, partners, images))
        assert lam == pytest.approx((~box).float().mean().item(), abs=1e-6)
        lams.add(lam)
    assert min(lams) < 0.25 < 0.75 < max(lams)


def reference_lambdas(alpha, size, count):
    """Algorithm 1 of the paper, then the share that the clipped box leaves."""
    generator = np.random.default_rng(5)
    lams = []
    for _ in range(count):
        side = int(size * math.sqrt(1 - generator.beta(alpha, alpha)))
        kept = np.ones((size, size))
        y, x = generator.integers(size, size=2) - side // 2
        kept[max(y, 0) : max(y + side, 0), max(x, 0) : max(x + side, 0)] = 0
        lams.append(kept.mean())
    return lams


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_cutmix_lambda_is_distributed_as_in_the_paper(alpha):
    cutmix, generator = CutMix(alpha), torch.Generator().manual_seed(6)
    lams = [cutmix.sample((2, 3, 32, 32), generator).lam for _ in range(3000)]
    expected = reference_lambdas(alpha, 32, 3000)
    assert scipy.stats.ks_2samp(lams, expected).pvalue > 1e-3


def test_cutmix_of_an_empty_box_and_of_everything():
    images = torch.randn(SHAPE, generator=torch.Generator().manual_seed(7))
    order = torch.arange(8).roll(1)
    nothing = CutMixParams(order, 5, 5, 0, 32, 1.0)
    assert torch.equal(CutMix().apply(images, LABELS, nothing)[0], images)
    everything = CutMixParams(order, 0, 32, 0, 32, 0.0)
    assert torch.equal(CutMix().apply(images, LABELS, everything)[0], images[order])


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("field", "mixing"), [("augment.mixup_alpha", Mixup), ("augment.cutmix_alpha", CutMix)]
)
def test_impossible_values_name_their_field(field, mixing, alpha):
    with pytest.raises(ConfigError) as caught:
        mixing(alpha)
    assert caught.value.field == field
