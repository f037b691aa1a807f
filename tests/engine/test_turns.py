"""Runs of a race take turns; the results are those of runs trained one after another."""

import time

import pytest

from engine import turns
from engine.config import with_fields
from engine.runs.run import Run, State
from engine.training.records import EpochRecord, Note
from engine.turns import Turn

pytestmark = pytest.mark.usefixtures("short_turns")


@pytest.fixture
def short_turns(monkeypatch):
    monkeypatch.setattr(turns, "TURN_S", 0.0)


@pytest.fixture
def epochs_seen(monkeypatch):
    """Names of runs in the order in which their epochs ended."""
    from engine.training.session import RunFiles  # noqa: PLC0415

    seen, write = [], RunFiles.write

    def note(self, record):
        if isinstance(record, EpochRecord):
            seen.append(self.writer.run.name)
        return write(self, record)

    monkeypatch.setattr(RunFiles, "write", note)
    return seen


def finish(wait_for, *made):
    done = (State.FINISHED, State.FAILED, State.STOPPED, State.PAUSED)
    wait_for(lambda: all(run.status().state in done for run in made), "runs to end")


def weights(run: Run) -> bytes:
    return (run.path / "last.safetensors").read_bytes()


def test_runs_of_a_race_take_turns_and_end_as_runs_of_their_own(
    worker, tmp_path, tiny, wait_for, epochs_seen, make_run, train_run
):
    configs = {name: tiny(epochs=3, seed=seed) for seed, name in enumerate(("a", "b"))}
    made = [worker.submit(c, n, tmp_path, study="s", race="s") for n, c in configs.items()]
    finish(wait_for, *made)
    assert epochs_seen in (list("ababab"), list("aababb"))  # b may come a turn late
    assert [run.status().study for run in made] == ["s", "s"]
    for name, config in configs.items():
        alone = make_run(f"{name}-alone", config)
        train_run(alone)
        assert weights(Run(tmp_path / name)) == weights(alone)
    assert len(list((tmp_path / "a").glob("events.*"))) == 1


def test_a_late_run_of_a_race_does_not_put_the_others_behind_the_next_race(
    worker, tmp_path, tiny, wait_for, epochs_seen
):
    configs = {name: tiny(epochs=3, seed=seed) for seed, name in enumerate("abxyc")}
    races = {name: "later" if name in "xy" else "first" for name in configs}
    made = [worker.submit(c, n, tmp_path, race=races[n]) for n, c in configs.items()]
    finish(wait_for, *made)
    last = {name: len(epochs_seen) - epochs_seen[::-1].index(name) for name in configs}
    assert max(last["a"], last["b"]) < min(last["x"], last["y"])


def test_a_run_that_is_submitted_again_while_it_waits_is_one_run(worker, tmp_path, tiny, wait_for):
    configs = [tiny(epochs=500, seed=seed) for seed in range(2)]
    made = [worker.submit(c, f"r{c.seed}", tmp_path, race="s") for c in configs]
    wait_for(lambda: made[0].status().state is State.WAITING, "a turn to end")
    again = worker.submit(configs[0], "r0", tmp_path, race="s")
    assert again.path == made[0].path
    for run in made:
        wait_for(lambda run=run: run.status().state is not State.QUEUED)
        worker.stop(run)
    finish(wait_for, *made)


def test_a_session_that_ends_when_it_should_wait_is_not_suspended(tmp_path):
    def session():
        yield "a record"

    ended = session()
    next(ended)
    suspended = turns.Suspended()
    assert not suspended.add(tmp_path, ended)
    assert tmp_path not in suspended


def test_other_runs_do_not_take_turns(worker, tmp_path, tiny, wait_for, epochs_seen):
    made = [worker.submit(tiny(epochs=2, seed=s), f"r{s}", tmp_path) for s in range(2)]
    finish(wait_for, *made)
    assert epochs_seen == ["r0", "r0", "r1", "r1"]


def test_a_waiting_run_obeys_at_once(worker, tmp_path, tiny, wait_for):
    long = tiny(epochs=500)
    made = [
        worker.submit(with_fields(long, {"seed": s}), f"r{s}", tmp_path, race="s") for s in range(3)
    ]
    wait_for(lambda: made[0].status().state is State.WAITING, "a turn to end")
    for run, act in zip(made, (worker.pause, worker.stop, worker.stop), strict=True):
        wait_for(lambda run=run: run.status().state is not State.QUEUED)
        act(run)
    finish(wait_for, *made)
    assert [run.status().state for run in made] == [State.PAUSED, State.STOPPED, State.STOPPED]
    assert not worker.waiting()
    worker.resume(made[0])
    wait_for(lambda: made[0].status().state is State.RUNNING)
    worker.stop(made[0])


def test_without_room_in_memory_a_run_goes_on_from_its_checkpoint(
    worker, tmp_path, tiny, wait_for, monkeypatch, epochs_seen, make_run, train_run
):
    monkeypatch.setattr(turns, "MEMORY_SHARE", 0.0)
    made = [worker.submit(tiny(epochs=3, seed=s), str(s), tmp_path, race="s") for s in range(2)]
    finish(wait_for, *made)
    assert epochs_seen in (list("010101"), list("001011"))  # the second may come a turn late
    alone = make_run("alone", tiny(epochs=3, seed=1))
    train_run(alone)
    assert weights(made[1]) == weights(alone)


def test_closing_the_worker_interrupts_waiting_runs_with_a_checkpoint(
    worker, tmp_path, tiny, wait_for
):
    made = [worker.submit(tiny(epochs=500, seed=s), f"r{s}", tmp_path, race="s") for s in range(2)]
    wait_for(lambda: State.WAITING in [run.status().state for run in made], "a turn to end")
    assert worker.close()
    wait_for(lambda: made[0].status().state is State.INTERRUPTED)
    assert made[0].status().step > 0


def test_waiting_is_not_training_time(worker, tmp_path, tiny, wait_for):
    begin = time.monotonic()
    made = [worker.submit(tiny(epochs=4, seed=s), f"r{s}", tmp_path, race="s") for s in range(2)]
    finish(wait_for, *made)
    assert sum(run.status().seconds for run in made) <= time.monotonic() - begin
    for run in made:
        epochs = sum(epoch["seconds"] for epoch in run.epochs())
        assert 0 < epochs <= run.status().seconds + 0.01


def test_a_turn_ends_after_the_checkpoint_of_an_epoch(monkeypatch):
    monkeypatch.setattr(turns, "TURN_S", 15.0)
    now = [0.0]
    turn, epoch = Turn(clock=lambda: now[0]), EpochRecord(1, 1, 0, 0, 0, 0, 0, 0)
    assert not turn.is_over(Note("x"))
    assert not turn.is_over(epoch)
    assert not turn.is_over(Note("x"))  # too short
    now[0] = 15.0
    assert turn.is_over(Note("x"))
    now[0] = 100.0
    assert not Turn(clock=lambda: now[0]).is_over(Note("x"))  # no epoch has ended
