"""Calibration: a hand example of the error, a known temperature, and the lists of images."""

import json
import math

import pytest
import torch

from engine.files import sha256
from engine.inspect import calibration
from engine.inspect.calibration import expected_error, fit_temperature, reliability
from engine.runs import temperature


def test_expected_error_of_a_hand_example():
    sure = torch.tensor([0.95, 0.95, 0.65, 0.65, 0.65])
    probabilities = torch.stack([sure, 1 - sure], 1)
    labels = torch.tensor([0, 1, 0, 0, 1])
    rows = reliability(probabilities, labels, bins=10)
    assert [row.images for row in rows] == [0, 0, 0, 0, 0, 0, 3, 0, 0, 2]
    assert math.isnan(rows[0].accuracy)
    assert rows[9][3:] == pytest.approx((0.95, 0.5))
    # 2/5 · |0.5 − 0.95| + 3/5 · |2/3 − 0.65|
    assert expected_error(rows) == pytest.approx(0.4 * 0.45 + 0.6 * (2 / 3 - 0.65), abs=1e-6)


def test_a_confidence_of_1_is_in_the_last_bin():
    rows = reliability(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
    assert rows[-1].images == 1
    assert expected_error(rows) == 0


@pytest.fixture(scope="module")
def overconfident():
    """Logits three times as large as those from which the labels were drawn."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4000, 5, generator=generator) * 2
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    return 3 * logits, labels


def test_the_temperature_undoes_a_known_scale(overconfident):
    fit = fit_temperature(*overconfident)
    assert fit.temperature == pytest.approx(3, rel=0.1)
    assert (fit.fitted_on, fit.judged_on) == (2000, 2000)
    assert fit.ece_after < 0.03 < 0.1 < fit.ece_before
    assert fit.loss_after < fit.loss_before
    assert fit == fit_temperature(*overconfident)


def test_it_is_judged_on_the_other_half(overconfident):
    logits, labels = overconfident
    fit = fit_temperature(logits, labels)
    chosen = torch.zeros(4000, dtype=torch.bool)
    chosen[calibration.sample_indices(4000, 2000, 0)] = True
    spoiled = labels.where(chosen, (labels + 1) % 5)
    other = fit_temperature(logits, spoiled)
    assert other.temperature == fit.temperature
    assert other.loss_after > 2 * fit.loss_after


def test_too_few_images():
    with pytest.raises(ValueError, match="at least 20 images, not 3"):
        fit_temperature(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long))


def test_it_is_stored_beside_the_weights(overconfident, tmp_path):
    weights = tmp_path / "best.safetensors"
    weights.write_bytes(b"weights")
    fit = fit_temperature(*overconfident)
    calibration.store(weights, sha256(weights), fit, "4,000 test images")
    assert temperature.read(weights) == fit.temperature
    stored = json.loads((tmp_path / "best.temperature.json").read_text())
    assert stored["images"] == "4,000 test images"
    assert stored["ece_after"] == fit.ece_after
    weights.write_bytes(b"trained on")
    assert temperature.read(weights) is None


def test_lists_of_images():
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7], [0.2, 0.8], [0.45, 0.55]])
    labels = torch.tensor([1, 1, 0, 1, 1])
    assert calibration.sure_and_wrong(probabilities, labels) == [0, 2, 1]
    assert calibration.unsure_and_right(probabilities, labels) == [4, 3]
    assert calibration.doubtful_labels(probabilities, labels) == [0, 2, 1]
