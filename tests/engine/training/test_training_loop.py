"""What `fit` yields, and that its figures are what they say they are."""

import dataclasses
import math

import pytest
import torch
from torch.overrides import TorchFunctionMode

from engine.config import with_fields
from engine.evaluate import Tally, evaluate
from engine.recipe import OPTIMIZERS, SCHEDULES
from engine.schedules import learning_rate
from engine.training import loop, meter
from engine.training.records import EpochRecord, ProgressRecord, Started, StepRecord

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")


@pytest.fixture
def uneven(noise):
    """40 images to train on: batches of 16, 16 and 8."""
    return dataclasses.replace(
        noise, train_images=noise.train_images[:40], train_labels=noise.train_labels[:40]
    )


def of_kind(records, kind) -> list:
    return [record for record in records if isinstance(record, kind)]


def test_the_records_come_in_the_documented_order(make_trainer, uneven):
    records = list(make_trainer(splits=uneven).fit())
    assert records[0] == Started(0, 0, 6, None, None, 0.0)
    kept = [(type(r), r.step) for r in records if isinstance(r, (StepRecord, EpochRecord))]
    epoch = [(StepRecord, 1), (StepRecord, 2), (StepRecord, 3), (EpochRecord, 3)]
    assert kept == [*epoch, *((kind, step + 3) for kind, step in epoch)]
    assert [r.epoch for r in of_kind(records, StepRecord)] == [1, 1, 1, 2, 2, 2]
    assert [r.epoch for r in of_kind(records, EpochRecord)] == [1, 2]
    phases = [r.phase for r in of_kind(records, ProgressRecord)]
    assert phases == ["training", "training", "training", "validating", "validating"] * 2


def test_records_have_the_documented_keys(make_trainer):
    records = list(make_trainer().fit())
    step, epoch = of_kind(records, StepRecord)[0], of_kind(records, EpochRecord)[0]
    assert list(step.to_dict()) == ["kind", "step", "epoch", "loss", "acc", "lr", "images_per_s"]
    assert set(epoch.to_dict()) == set(
        ["kind", "epoch", "step", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "seconds"]
    )
    assert (step.to_dict()["kind"], epoch.to_dict()["kind"]) == ("step", "epoch")


def test_an_epochs_training_figures_are_means_over_its_images(make_trainer, uneven):
    records = list(make_trainer(splits=uneven).fit())
    for epoch in of_kind(records, EpochRecord):
        steps = [r for r in of_kind(records, StepRecord) if r.epoch == epoch.epoch]
        sizes = [16, 16, 8]
        for name in ("loss", "acc"):
            mean = sum(getattr(s, name) * n for s, n in zip(steps, sizes, strict=True)) / 40
            assert getattr(epoch, f"train_{name}") == pytest.approx(mean)
        assert epoch.lr == steps[-1].lr


def test_an_epochs_validation_figures_are_those_of_its_last_weights(make_trainer, noise):
    trainer = make_trainer()
    last = of_kind(trainer.fit(), EpochRecord)[-1]
    tally = Tally()
    for _ in evaluate(
        trainer.model,
        noise.val_images,
        noise.val_labels,
        trainer.setup.pipeline.mean,
        trainer.setup.pipeline.std,
        trainer.setup.compute,
        tally,
    ):
        pass
    assert (last.val_loss, last.val_acc) == (tally.loss, tally.acc)
    assert tally.count == 20


@pytest.mark.parametrize(
    ("optimizer", "kind"),
    [
        *((optimizer, SCHEDULES[0]) for optimizer in OPTIMIZERS),
        *(("sgd", k) for k in SCHEDULES[1:]),
    ],
)
def test_every_optimizer_and_every_schedule_trains(make_trainer, tiny, optimizer, kind):
    config = tiny(**{"optim.optimizer": optimizer, "schedule.kind": kind, "optim.lr": 0.01})
    trainer = make_trainer(config=with_fields(config, {"schedule.warmup": 0.5}))
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    records = list(trainer.fit())
    for step in of_kind(records, StepRecord):
        rate = learning_rate(trainer.setup.config.schedule, 0.01, step.step - 1, 3, 2)
        assert step.lr == rate
        assert math.isfinite(step.loss)
    assert all(not torch.equal(before[key], p) for key, p in trainer.model.named_parameters())
    assert of_kind(records, EpochRecord)[-1].epoch == 2


class Syncs(TorchFunctionMode):
    """Counts the calls that bring a tensor's values to the host, for which a GPU has to finish."""

    CALLS = frozenset(
        getattr(torch.Tensor, name)
        for name in ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__")
    )
    count = 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.count += function in self.CALLS
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize(("read_every", "syncs"), [(1e9, 1), (0.0, 3)])
def test_an_epochs_steps_synchronize_with_the_device_once_per_reading(
    make_trainer, tiny, monkeypatch, read_every, syncs
):
    """An epoch has three steps and always ends with a reading."""
    monkeypatch.setattr(loop, "READ_EVERY_S", read_every)
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 1e9)
    steps, counts, training = [], [], True
    with Syncs() as seen:
        for record in make_trainer(config=tiny(**{"optim.ema": 0.9})).fit():
            if isinstance(record, EpochRecord):
                training, seen.count = True, 0
            elif isinstance(record, StepRecord):
                steps.append(record.step)
            elif isinstance(record, ProgressRecord) and record.phase == "validating" and training:
                training = False
                counts.append(seen.count)
    assert counts == [syncs, syncs]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_step_records_are_thinned_but_the_last_is_kept(make_trainer, tiny, monkeypatch):
    monkeypatch.setattr(meter, "MAX_STEP_RECORDS", 3)
    trainer = make_trainer(config=tiny(batch_size=10))  # 5 steps an epoch
    records = list(trainer.fit())
    assert [r.step for r in of_kind(records, StepRecord)] == [4, 8, 10]
    plain = list(make_trainer(config=tiny(batch_size=10)).fit())
    assert (
        of_kind(records, EpochRecord)[-1].train_loss == of_kind(plain, EpochRecord)[-1].train_loss
    )


def test_a_checkpoint_is_written_every_epoch(make_trainer, tmp_path, monkeypatch):
    saved = []
    trainer = make_trainer(tmp_path)
    monkeypatch.setattr(trainer.store, "save", lambda step, *_: saved.append(step))
    list(trainer.fit())
    assert saved == [0, 3, 6]


def test_a_checkpoint_is_written_when_the_time_is_up(make_trainer, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "SAVE_EVERY_S", 0.0)
    saved = []
    trainer = make_trainer(tmp_path)
    monkeypatch.setattr(trainer.store, "save", lambda step, *_: saved.append(step))
    list(trainer.fit())
    assert saved == [0, 1, 2, 3, 3, 4, 5, 6, 6]


def test_the_best_weights_are_those_of_the_first_epoch_with_the_best_accuracy(
    make_trainer, tiny, tmp_path, monkeypatch
):
    accuracies = iter([0.2, 0.5, 0.5, 0.4])

    def measured(model, images, labels, mean, std, compute, tally, tta):
        tally.count, tally.correct = 100, round(100 * next(accuracies))
        tally.predicted.append(labels)
        yield

    monkeypatch.setattr(loop, "evaluate", measured)
    saved = []
    trainer = make_trainer(tmp_path, tiny(epochs=4))
    monkeypatch.setattr(
        trainer.store, "save_best", lambda weights, epoch, acc: saved.append((epoch, acc))
    )
    list(trainer.fit())
    assert saved == [(1, 0.2), (2, 0.5)]
    assert (trainer.state.position.best_acc, trainer.state.position.best_epoch) == (0.5, 2)
