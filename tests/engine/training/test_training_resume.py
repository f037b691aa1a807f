"""A closed and resumed training ends as an uninterrupted one does, to the bit."""

import pytest
import torch

from engine.runs.checkpoint import load_weights
from engine.training import loop
from engine.training.records import ProgressRecord, Started, StepRecord

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")

# Everything that carries a state: momentum, BatchNorm's sums, the average, mixing, a schedule.
RECIPE = {
    "augment.mixup": True,
    "augment.erasing": True,
    "augment.alternating_flip": True,
    "schedule.warmup": 0.5,
    "optim.optimizer": "muon",
    "optim.ema": 0.9,
    "progressive": True,
}
YIELDS = 19  # of the whole training: the start, two for each step and three for each epoch's end


@pytest.fixture(scope="module")
def recipe(tiny):
    return tiny(**RECIPE)


@pytest.fixture(scope="module")
def whole(make_trainer, recipe, tmp_path_factory, one_thread):
    """Records and folder of an uninterrupted training."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "READ_EVERY_S", 0.0)
        return list(make_trainer(folder, recipe).fit()), folder


def take(trainer, count: int) -> list:
    """Its first `count` records; then the generator is closed."""
    records, generator = [], trainer.fit()
    for record in generator:
        records.append(record)
        if len(records) == count:
            generator.close()
    return records


def test_these_tests_close_at_every_yield(whole):
    assert len(whole[0]) == YIELDS


# The start, both yields of a step, those of an epoch's end, amid the second epoch, the last.
QUICK = (1, 2, 3, 8, 9, 10, 14, YIELDS)


@pytest.mark.parametrize(
    "count",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in range(1, YIELDS + 1)],
)
def test_closed_at_any_yield_and_resumed_is_as_if_never_closed(
    make_trainer, recipe, tmp_path, whole, same, lasting, checkpoint_of, count
):
    records, uncut = whole
    first = take(make_trainer(tmp_path, recipe), count)
    second = list(make_trainer(tmp_path, recipe).fit())
    assert lasting(first) + lasting(second) == lasting(records)
    assert isinstance(second[0], Started)
    done = max((r.step for r in first if not isinstance(r, Started)), default=0)
    assert second[0].step == done
    assert same(checkpoint_of(tmp_path), checkpoint_of(uncut))
    for name in ("last.safetensors", "best.safetensors"):
        assert same(load_weights(tmp_path / name), load_weights(uncut / name))


def test_closed_amid_the_records_of_one_reading_none_is_lost_or_given_twice(
    make_trainer, recipe, tmp_path, whole, lasting, monkeypatch
):
    """Four times a second means many steps at once, of which some were not given out yet."""
    monkeypatch.setattr(loop, "READ_EVERY_S", 1e9)
    first = take(make_trainer(tmp_path, recipe), 2)
    assert [type(record) for record in first] == [Started, StepRecord]
    second = list(make_trainer(tmp_path, recipe).fit())
    assert lasting(first) + lasting(second) == lasting(whole[0])


def test_closed_again_and_again_it_still_ends_the_same(
    make_trainer, recipe, tmp_path, whole, same, lasting, checkpoint_of
):
    kept = []
    for _ in range(40):
        records = take(make_trainer(tmp_path, recipe), 4)
        kept += lasting(records)
        if len(records) < 4:
            break
    assert kept == lasting(whole[0])
    assert same(checkpoint_of(tmp_path), checkpoint_of(whole[1]))


@pytest.mark.parametrize("change", [{"optim.optimizer": "adamw"}, {"precision": "bf16"}], ids=str)
def test_other_optimizers_and_precisions_resume_to_the_bit_as_well(
    make_trainer, tiny, tmp_path, same, checkpoint_of, change
):
    config = tiny(**change, **{"optim.lr": 0.01})
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    list(make_trainer(tmp_path / "whole", config).fit())
    take(make_trainer(tmp_path / "cut", config), 6)
    list(make_trainer(tmp_path / "cut", config).fit())
    assert same(checkpoint_of(tmp_path / "cut"), checkpoint_of(tmp_path / "whole"))


def test_a_finished_training_resumed_has_nothing_to_do(make_trainer, recipe, whole):
    saved = sorted(whole[1].rglob("*"))
    (started,) = make_trainer(whole[1], recipe).fit()
    assert (started.step, started.epochs_done, started.steps) == (6, 2, 6)
    assert sorted(whole[1].rglob("*")) == saved


def test_the_time_spent_adds_up_over_the_sessions(make_trainer, recipe, tmp_path):
    first = [r for r in take(make_trainer(tmp_path, recipe), 9) if isinstance(r, ProgressRecord)]
    second = make_trainer(tmp_path, recipe).fit()
    started = next(second)
    assert started.seconds >= first[-1].seconds > 0
    assert [r for r in second if isinstance(r, ProgressRecord)][-1].seconds > started.seconds


def test_restored_weights_keep_the_memory_format(make_trainer, tiny, tmp_path):
    config = tiny(precision="bf16")
    take(make_trainer(tmp_path, config), 6)
    trainer = make_trainer(tmp_path, config)
    assert next(trainer.fit()).step > 0
    kernel = trainer.model.get_parameter("stages.3.0.body.0.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last)
