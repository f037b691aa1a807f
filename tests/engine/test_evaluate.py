"""Evaluation: clean images, eval mode, every image once, and six views with TTA."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine import evaluate as evaluation
from engine.augment import normalize
from engine.device import resolve
from engine.evaluate import Tally, TestTimeAugmentation, evaluate, predict_logits
from engine.models import build_model

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = resolve("cpu", "fp32")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


@pytest.fixture(scope="module")
def model():
    """A network whose norms have seen something, so that eval mode differs from training."""
    model = build_model("resnet10", width=0.0625, seed=2)
    with torch.no_grad():
        model(torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    return model


def measure(model, noise, **options) -> Tally:
    tally = Tally()
    images, labels = noise.val_images, noise.val_labels
    for _ in evaluate(model, images, labels, MEAN, STD, CPU, tally, **options):
        pass
    return tally


def test_loss_and_accuracy_are_those_of_all_images_whatever_the_batches(model, noise, monkeypatch):
    monkeypatch.setattr(evaluation, "EVAL_BATCH", 7)  # 7, 7, 6
    tally = measure(model, noise)
    model.eval()
    with torch.no_grad():
        logits = model(normalize(noise.val_images, MEAN, STD))
    model.train()
    assert tally.count == 20
    assert tally.loss == pytest.approx(F.cross_entropy(logits, noise.val_labels).item(), rel=1e-5)
    assert tally.correct == int((logits.argmax(1) == noise.val_labels).sum())
    assert tally.acc == tally.correct / 20


def test_a_turn_comes_after_each_batch(model, noise, monkeypatch):
    monkeypatch.setattr(evaluation, "EVAL_BATCH", 7)
    tally, counts = Tally(), []
    for _ in evaluate(model, noise.val_images, noise.val_labels, MEAN, STD, CPU, tally):
        counts.append(tally.count)
    assert counts == [7, 14, 20]


@pytest.mark.parametrize("training", [True, False])
def test_the_networks_mode_and_norms_are_left_as_they_were(model, noise, training):
    model.train(training)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    measure(model, noise)
    assert model.training is training
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    model.train()


def test_the_mode_comes_back_when_it_is_closed_halfway(model, noise):
    batches = evaluate(model, noise.val_images, noise.val_labels, MEAN, STD, CPU, Tally())
    next(batches)
    assert not model.training
    batches.close()
    assert model.training


def test_tta_is_the_mean_over_moved_and_mirrored_images(model, noise):
    """Half the weight on the image, a quarter each on it moved by one pixel; mirrored as well."""
    model.eval()

    def both(images):
        plain = predict_logits(model, images, MEAN, STD, CPU)
        return (plain + predict_logits(model, images.flip(-1), MEAN, STD, CPU)) / 2

    images = noise.val_images
    reflected = F.pad(images.float(), [1] * 4, mode="reflect").byte()
    first, last = reflected[:, :, :32, :32], reflected[:, :, 2:, 2:]
    expected = both(images) / 2 + both(first) / 4 + both(last) / 4
    result = predict_logits(model, images, MEAN, STD, CPU, tta=TestTimeAugmentation())
    model.train()
    assert not torch.allclose(both(images), both(first))
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


def test_logits_are_fp32_without_a_gradient_in_any_precision(noise):
    model = nn.Sequential(nn.Conv2d(3, 10, 32), nn.Flatten()).eval()
    for precision in ("fp32", "bf16"):
        logits = predict_logits(model, noise.val_images, MEAN, STD, resolve("cpu", precision))
        assert logits.dtype is torch.float32
        assert not logits.requires_grad
        assert logits.shape == (20, 10)


def test_no_images_have_no_accuracy_but_do_not_divide_by_zero():
    assert (Tally().loss, Tally().acc) == (0.0, 0.0)
