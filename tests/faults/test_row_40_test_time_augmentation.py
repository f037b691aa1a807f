"""Row 40 of docs/FAULTS.md: test-time augmentation uses only views of training."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import train
from engine.advice import warnings
from engine.config import AugmentConfig, RunConfig, with_fields
from engine.device import resolve
from engine.evaluate import TestTimeAugmentation, predict_logits
from engine.training import loop
from engine.training.records import EpochRecord

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
VIEWS = {(True, True): 6, (True, False): 2, (False, True): 3, (False, False): 1}  # (flip, crop)


class Recorder(nn.Module):
    """Returns the sum of each image and keeps what it was shown."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.clone())
        return x.sum((1, 2, 3)).unsqueeze(1)


@pytest.mark.parametrize(("flip", "crop"), VIEWS)
def test_row_40_views_are_those_of_training(flip, crop, noise):
    tta = TestTimeAugmentation.like_training(AugmentConfig(flip=flip, crop=crop))
    assert tta.count == VIEWS[flip, crop]
    model, images = Recorder(), noise.val_images
    predict_logits(model, images, MEAN, STD, resolve("cpu", "fp32"), tta=tta)
    assert len(model.seen) == tta.count
    plain = model.seen[0]
    padded = F.pad(plain, [1] * 4, mode="reflect")
    shifted = [padded[:, :, i : i + 32, i : i + 32] for i in (0, 2)] if crop else []
    allowed = [plain, *shifted]
    allowed += [view.flip(-1) for view in allowed] if flip else []
    for view in model.seen:
        assert sum(torch.equal(view, known) for known in allowed) == 1


@pytest.mark.parametrize(
    ("augment", "views"),
    [
        (AugmentConfig(flip_p=0.0), 3),
        (AugmentConfig(flip_p=0.0, alternating_flip=True), 6),
        (AugmentConfig(flip_p=0.1), 6),
        (AugmentConfig(flip_p=0.0, crop=False), 1),
    ],
)
def test_row_40_a_flip_that_never_happens_gives_no_mirrored_views(augment, views):
    assert TestTimeAugmentation.like_training(augment).count == views
    config = with_fields(RunConfig(), {"augment": vars(augment), "tta": True})
    told = any("test-time augmentation has no effect" in line for line in warnings(config))
    assert told is (views == 1)


@pytest.mark.parametrize(("flip", "crop"), VIEWS)
def test_row_40_weights_sum_to_one(flip, crop):
    images = torch.zeros(1, 3, 32, 32)
    views = TestTimeAugmentation(mirror=flip, shift=crop).views(images)
    assert sum(weight for weight, _ in views) == 1


def test_row_40_a_run_is_measured_with_its_own_views(make_trainer, tiny, monkeypatch):
    used = []

    def measured(model, images, labels, mean, std, compute, tally, tta):
        used.append(tta)
        tally.count, tally.predicted = 1, [labels]
        yield

    monkeypatch.setattr(loop, "evaluate", measured)
    config = tiny(**{"augment.flip": False, "tta": True, "epochs": 1})
    records = [r for r in make_trainer(config=config).fit() if isinstance(r, EpochRecord)]
    assert used == [None, TestTimeAugmentation(mirror=False, shift=True)]
    assert records[-1].val_acc_tta is not None


@pytest.mark.parametrize(("more", "views"), [(["--no-flip"], 3), (["--no-flip", "--no-crop"], 1)])
def test_row_40_evaluate_uses_the_views_of_the_run(tiny_args, tmp_path, capsys, more, views):
    assert train.main(tiny_args(tmp_path, "--name", "a", *more)) == 0
    assert train.main(["--run-root", str(tmp_path), "--evaluate", "a", "--tta"]) == 0
    assert f"({views} view" in capsys.readouterr().out


def test_row_40_one_view_is_warned_of():
    off = {"tta": True, "augment.flip": False, "augment.crop": False}
    found = warnings(with_fields(RunConfig(), off))
    assert any("test-time augmentation has no effect" in line for line in found)
    assert not warnings(with_fields(RunConfig(), off | {"augment.flip": True}))
