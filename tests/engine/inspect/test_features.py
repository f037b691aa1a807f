"""Maps by features: groups stay together; neighbors are the most similar ones."""

import numpy as np
import pytest
import torch

from engine.inspect.features import nearest, pca, tsne


@pytest.fixture(scope="module")
def groups():
    generator = torch.Generator().manual_seed(0)
    centers = 20 * torch.eye(2, 8)
    return torch.cat([center + torch.randn(20, 8, generator=generator) for center in centers])


def separation(points):
    """Distance of the two groups' centers, in their own radii."""
    a, b = points[:20], points[20:]
    gap = np.linalg.norm(a.mean(0) - b.mean(0))
    return gap / max(np.linalg.norm(each - each.mean(0), axis=1).mean() for each in (a, b))


def test_principal_components_separate_the_groups(groups):
    found = pca(groups)
    assert found.points.shape == (40, 2)
    assert separation(found.points) > 3
    centered = (groups - groups.mean(0)).double()
    values = torch.linalg.svdvals(centered).square()
    assert found.share == pytest.approx((values[:2].sum() / values.sum()).item())


def test_tsne_in_stages(groups):
    steps = list(tsne(groups))
    assert [share for share, _ in steps] == [0.25, 0.5, 0.75, 1.0]
    assert separation(steps[-1][1]) > 3


def test_equal_features_lie_on_one_point():
    """As of a collapsed network; scikit-learn's native code crashes on them."""
    ((share, points),) = tsne(torch.full((60, 64), 0.3))
    assert share == 1.0 and points.shape == (60, 2) and not points.any()


@pytest.mark.parametrize("project", [pca, lambda features: next(tsne(features))])
def test_too_few_images(project):
    with pytest.raises(ValueError, match="at least 4 images, not 3"):
        project(torch.rand(3, 5))


def test_one_feature():
    assert pca(torch.rand(5, 1)).points.shape == (5, 2)


def test_neighbors_by_cosine():
    known = torch.tensor([[1.0, 0.0], [0.0, 3.0], [5.0, 5.0]])
    (found,) = nearest(torch.tensor([[0.0, 0.1]]), known, count=2)
    assert found.indices == [1, 2]
    assert found.similarities == pytest.approx([1.0, 0.5**0.5])
