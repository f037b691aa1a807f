"""A training depends on its config alone: not on the global random state, not on other threads."""

import random
import threading

import numpy as np
import pytest
import torch

from engine.training.records import StepRecord

pytestmark = pytest.mark.usefixtures("every_step")

RECIPE = {"augment.mixup": True, "augment.cutmix": True, "augment.erasing": True}


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def outcome(make_trainer, tiny, lasting, tmp_path_factory):
    """outcome(seed=1): records, and final weights, of a training that also saves."""

    def train(**changes):
        trainer = make_trainer(tmp_path_factory.mktemp("run"), tiny(**RECIPE, **changes))
        records = lasting(trainer.fit())
        return records, dict(trainer.model.state_dict())

    return train


def test_the_same_seed_gives_the_same_outcome_and_another_another(outcome, same, threads):
    first = outcome(seed=1)
    assert same(outcome(seed=1), first)
    records, weights = outcome(seed=2)
    assert records != first[0]
    assert not torch.equal(weights["head.2.weight"], first[1]["head.2.weight"])


@pytest.mark.usefixtures("one_thread")
def test_a_whole_training_leaves_the_global_random_states_alone(outcome, same):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    outcome()
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()
    assert torch.equal(after[0], before[0])
    assert after[1] == before[1]
    assert all(np.array_equal(a, b) for a, b in zip(after[2], before[2], strict=True))


@pytest.mark.usefixtures("one_thread")
def test_global_random_states_do_not_change_a_training(outcome, same):
    first = outcome()
    torch.manual_seed(12345)
    random.seed(12345)
    np.random.seed(12345)
    assert same(outcome(), first)


@pytest.mark.usefixtures("one_thread")
def test_other_threads_that_draw_and_seed_do_not_change_a_training(outcome, same):
    first, ended, turns = outcome(), threading.Event(), []

    def disturb():
        while not ended.is_set():
            torch.manual_seed(len(turns))
            torch.rand(100)
            np.random.seed(7)
            random.random()
            turns.append(None)
            ended.wait(0.001)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        disturbed = outcome()
    finally:
        ended.set()
        thread.join()
    assert turns, "the other thread never ran"
    assert same(disturbed, first)


@pytest.mark.usefixtures("one_thread")
def test_how_often_it_reads_and_saves_does_not_change_a_training(outcome, same, monkeypatch):
    first = outcome()
    monkeypatch.setattr("engine.training.loop.READ_EVERY_S", 1e9)
    monkeypatch.setattr("engine.training.loop.SAVE_EVERY_S", 0.0)
    assert same(outcome(), first)


@pytest.mark.usefixtures("one_thread")
def test_an_epoch_has_an_order_of_its_own(make_trainer, tiny):
    records = make_trainer(config=tiny(**{"optim.lr": 1e-9})).fit()
    losses = [record.loss for record in records if isinstance(record, StepRecord)]
    assert len(set(losses)) == 6
