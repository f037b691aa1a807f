"""One writer per run, and what the others see of it."""

import threading

import pytest

from engine import runs
from engine.errors import RunError
from engine.runs.run import HELD, LOCK_WAIT_S, Run, State


@pytest.fixture(autouse=True)
def short_wait(monkeypatch):
    monkeypatch.setattr("engine.runs.run.LOCK_WAIT_S", 0.05)


def test_a_second_writer_is_refused_with_the_first_named(make_run):
    run = make_run()
    with run.hold("the app"):
        assert run.is_alive()
        with pytest.raises(RunError, match="'a' is in use by the app, process"), run.hold("me"):
            pytest.fail("two writers")
    assert not run.is_alive()
    with run.hold("me"):
        assert run.holder().startswith("me, process")


def test_another_thread_sees_the_lock_too(make_run):
    run, seen = make_run(), []
    with run.hold("the app"):
        thread = threading.Thread(target=lambda: seen.append(Run(run.path).is_alive()))
        thread.start()
        thread.join()
    assert seen == [True]


def test_another_process_that_holds_is_named_and_its_death_frees_the_run(
    make_run, python, wait_for
):
    run = make_run()
    code = """
from engine.runs.run import Run, State
import time
with Run(PATH).hold("train.py") as writer:
    writer.begin((State.QUEUED,))
    print("held", flush=True)
    time.sleep(1000)
"""
    child = python(code, PATH=str(run.path))
    wait_for(lambda: "held" in child.text, "the child to hold the run")
    with pytest.raises(RunError, match=f"in use by train.py, process {child.pid} on"):
        run.hold("me").__enter__()
    assert run.is_alive()
    assert run.status().state is State.RUNNING
    child.process.kill()
    child.wait()
    assert not run.is_alive()
    assert run.status().state is State.INTERRUPTED
    with run.hold("me") as writer:
        writer.begin((State.INTERRUPTED,))
        assert run.status().state is State.RUNNING


def test_a_holder_whose_note_is_damaged_is_still_a_holder(make_run):
    run = make_run()
    with run.hold("the app"):
        (run.path / "holder.json").write_text("{")
        with pytest.raises(RunError, match="in use by another process"):
            run.hold("me").__enter__()


@pytest.mark.parametrize("state", [s for s in State if s not in (*HELD, State.DAMAGED)])
def test_only_held_states_need_a_writer_to_be_believed(make_run, state):
    run = make_run()
    with run.hold("test") as writer:
        writer.update(state=state)
    assert run.status().state is state


def test_a_deleted_run_is_not_alive_cannot_be_held_and_does_not_come_back(make_run):
    run = make_run()
    runs.delete(run)
    assert not run.path.exists()
    assert not run.is_alive()
    with pytest.raises(RunError, match="there is no run 'a'"), run.hold("me"):
        pytest.fail("held a run that is gone")
    with pytest.raises(RunError, match="there is no run 'a'"):
        runs.delete(run)
    assert not run.path.exists()


def test_a_run_in_use_is_neither_deleted_nor_renamed(make_run):
    run = make_run()
    with run.hold("the app"):
        for change in (lambda: runs.delete(run), lambda: runs.rename(run, "b")):
            with pytest.raises(RunError, match="in use by the app"):
                change()
    assert run.status().state is State.QUEUED


def test_a_renamed_run_keeps_everything(make_run, tiny):
    run = make_run("a")
    with pytest.raises(RunError, match="is queued"):  # the queue knows it by its name
        runs.rename(run, "b")
    with run.hold("test") as writer:
        writer.update(state=State.STOPPED)
    renamed = runs.rename(run, "b")
    assert (renamed.name, renamed.config()) == ("b", tiny())
    assert [run.name for run in runs.list_runs(renamed.path.parent)] == ["b"]
    make_run("c")
    with pytest.raises(RunError, match="'C' already exists"):
        runs.rename(renamed, "C")


def test_a_run_of_a_study_keeps_the_name_that_the_study_knows_it_by(make_run):
    run = make_run("norms-1-batch-s0")
    with run.hold("test") as writer:
        writer.update(state=State.FINISHED, study="norms")
    with pytest.raises(RunError, match="belongs to study 'norms'; give it a title"):
        runs.rename(run, "b")
    assert run.exists()


def test_runs_made_at_once_under_one_name_are_one_run(tmp_path, tiny):
    barrier, made, refused = threading.Barrier(8), [], []

    def make():
        barrier.wait()
        try:
            made.append(runs.create(tmp_path, "same", tiny()))
        except RunError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(refused)) == (1, 7)
    assert all("exists" in text for text in refused)
    assert [run.name for run in runs.list_runs(tmp_path)] == ["same"]


def test_looking_whether_it_lives_does_not_keep_a_writer_out(make_run, monkeypatch):
    """Fifty pages ask all the time; each holds the lock for an instant."""
    monkeypatch.setattr("engine.runs.run.LOCK_WAIT_S", LOCK_WAIT_S)
    run, ended = make_run(), threading.Event()

    def poll():
        while not ended.is_set():
            run.is_alive()

    threads = [threading.Thread(target=poll) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            with run.hold("the app") as writer:
                writer.update(step=writer.status.step + 1)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert run.status().step == 5
