"""Corruptions: graded, repeatable, and measured beside the clean images."""

import pytest
import torch

from engine.inspect.corruptions import CORRUPTIONS, SEVERITIES, corrupt, measure


@pytest.fixture(scope="module")
def images():
    """Smooth images: corruptions move them away from themselves."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(12, 3, 6, 6, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, (32, 32), mode="bicubic")
    return (fine * 255).clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_higher_severity_changes_more(images, name):
    kept = images.clone()
    found = [corrupt(images, name, severity) for severity in SEVERITIES]
    distances = [(each.float() - images.float()).square().mean().item() for each in found]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert all(each.dtype == torch.uint8 and each.shape == images.shape for each in found)
    assert torch.equal(found[0], corrupt(images, name, 1))
    assert torch.equal(images, kept)


def test_an_unknown_corruption_names_the_known_ones(images):
    with pytest.raises(ValueError, match="known are noise, blur"):
        corrupt(images, "fog", 1)
    with pytest.raises(ValueError, match="1 to 3"):
        corrupt(images, "noise", 4)


def test_the_table_begins_with_the_clean_images(images):
    labels = torch.zeros(12, dtype=torch.long)
    levels = images.float().mean((1, 2, 3))

    def predict(batch):  # notices darker images only
        dark = batch.float().mean((1, 2, 3)) < levels.min() * 0.8
        yield 0.5
        return dark.long()

    steps, shares = measure(images, labels, predict), []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as end:
            rows = end.value
            break
    assert shares == sorted(shares) and len(shares) == len(rows) and 0 < shares[0] < shares[-1] < 1
    accuracies = {(row.corruption, row.severity): row.accuracy.value for row in rows}
    assert (rows[0].corruption, rows[0].severity) == ("none", 0)
    assert len(rows) == 1 + 3 * len(CORRUPTIONS)
    assert accuracies["none", 0] == accuracies["shift", 1] == 1
    assert accuracies["brightness", 3] == 0
