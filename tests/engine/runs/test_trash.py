"""Deleted runs: restored as they were, and removed for good after a while."""

import time

import pytest

from engine import runs
from engine.errors import RunError
from engine.runs import trash
from engine.runs.run import State


def contents(run) -> dict:
    return {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}


def test_a_deleted_run_is_restored_as_it_was(make_run, tmp_path):
    run = make_run("a")
    run.set_note("mine")
    before = contents(run)
    entry = trash.discard(run)
    assert runs.list_runs(tmp_path) == [] and not run.exists()
    assert [(e.name, e.path) for e in trash.discarded(tmp_path)] == [("a", entry.path)]
    after = contents(trash.restore(entry))
    assert {name: after[name] for name in before} == before
    assert trash.discarded(tmp_path) == []
    with run.hold("a test") as writer:
        writer.update(state=State.STOPPED)  # a queued run cannot be renamed
    runs.rename(run, "b")
    with pytest.raises(RunError, match="permanently deleted"):
        trash.restore(entry)


def test_a_run_whose_name_was_taken_meanwhile_is_restored_under_another(make_run, tmp_path):
    entries = [trash.discard(make_run("a")) for _ in range(2)]  # one name, twice
    restored = [trash.restore(entry) for entry in entries]
    assert [run.name for run in restored] == ["a", "a-2"]
    assert all(run.exists() for run in restored) and trash.discarded(tmp_path) == []


def test_a_run_in_training_is_not_deleted(make_run, monkeypatch):
    monkeypatch.setattr("engine.runs.run.LOCK_WAIT_S", 0.1)
    run = make_run("a")
    with run.hold("a test") as writer:
        writer.update(state=State.RUNNING)
        with pytest.raises(RunError, match="in use"):
            trash.discard(run)
    assert run.exists()


def test_what_is_old_goes_for_good_and_what_a_kill_leaves_is_swept(make_run, tmp_path, monkeypatch):
    old = trash.discard(make_run("old"))
    then = int((time.time() - trash.KEEP_S - 9) * 1e9)
    old.path.rename(old.path.with_name(f"{then}-old"))
    monkeypatch.setattr("shutil.rmtree", lambda *a, **k: None)  # killed before it removes anything
    young = trash.discard(make_run("young"))
    assert [entry.path for entry in trash.discarded(tmp_path)] == [young.path]
    assert runs.list_runs(tmp_path) == []
    monkeypatch.undo()
    trash.purge(tmp_path, older_s=0.0)
    assert trash.discarded(tmp_path) == []


def test_on_a_full_disk_a_run_is_deleted_for_good(make_run, monkeypatch):
    run = make_run("a")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.mkdir", full)
    assert trash.discard(run) is None
    assert not run.path.exists()
