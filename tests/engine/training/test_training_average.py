"""The moving average: its formula, and that training does not notice it."""

import pytest
import torch
from torch import nn

from engine.runs.checkpoint import load_weights
from engine.training.average import WeightAverage

pytestmark = pytest.mark.usefixtures("one_thread")


def test_it_follows_the_formula_for_weights_and_buffers():
    model = nn.BatchNorm2d(1)
    average = WeightAverage(model, decay=0.5)
    expected = {"weight": 1.0, "running_mean": 0.0}
    for step in range(12):
        with torch.no_grad():
            model.weight.fill_(float(step))
            model.running_mean.fill_(10.0 * step)
            model.num_batches_tracked.fill_(step)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        for key, value in (("weight", float(step)), ("running_mean", 10.0 * step)):
            expected[key] = decay * expected[key] + (1 - decay) * value
    weights = average.weights()
    for key, value in expected.items():
        assert weights[key].item() == pytest.approx(value, rel=1e-5)
    assert weights["num_batches_tracked"].item() == 11  # a counter is not averaged


def test_it_is_in_the_model_only_inside_the_context():
    model = nn.Linear(1, 1)
    average = WeightAverage(model, decay=0.9)
    with torch.no_grad():
        model.weight.fill_(5.0)
    average.values["weight"].fill_(7.0)
    with pytest.raises(ZeroDivisionError), average.applied():
        assert model.weight.item() == 7.0
        raise ZeroDivisionError
    assert model.weight.item() == 5.0


def test_training_is_the_same_but_validates_and_leaves_the_average(make_trainer, tiny, tmp_path):
    kept = {}
    for name, decay in (("plain", 0.0), ("averaged", 0.9)):
        trainer = make_trainer(tmp_path / name, tiny(**{"optim.ema": decay}))
        (tmp_path / name).mkdir()
        records = [r for r in trainer.fit() if type(r).__name__ == "EpochRecord"]
        kept[name] = trainer.model.state_dict(), records, trainer
    (plain, before, _), (averaged, after, trainer) = kept["plain"], kept["averaged"]
    assert all(torch.equal(plain[key], averaged[key]) for key in plain)
    assert [r.train_loss for r in before] == [r.train_loss for r in after]
    assert [r.val_loss for r in before] != [r.val_loss for r in after]
    saved, _ = load_weights(tmp_path / "averaged" / "last.safetensors")
    assert torch.equal(saved["head.2.weight"], trainer.state.average.values["head.2.weight"])
    assert not torch.equal(saved["head.2.weight"], averaged["head.2.weight"])
