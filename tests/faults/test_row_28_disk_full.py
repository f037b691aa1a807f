"""Row 28 of docs/FAULTS.md: a full disk, or a folder that cannot be written."""

import errno
import os
from pathlib import Path

import pytest
import torch

from engine import files
from engine.errors import CheckpointError
from engine.runs.checkpoint import CheckpointStore, load_weights
from engine.runs.run import State
from engine.training import session

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")

FULL = OSError(errno.ENOSPC, "No space left on device")


def save(folder: Path, step: int) -> None:
    weights = {"w": torch.full((20_000,), float(step))}
    CheckpointStore(folder, {"schema": "1"}).save(step, weights, {"step": step, **weights})


def newest(folder: Path) -> int:
    checkpoint = CheckpointStore(folder, {}).load_newest()
    assert torch.equal(checkpoint.weights["w"], torch.full((20_000,), float(checkpoint.step)))
    return checkpoint.step


MANY = 1_000  # more calls than a save makes


class Failing:
    """A system call that fails from its n-th use on, as on a disk that has filled up."""

    def __init__(self, monkeypatch, name: str, nth: int):
        self.real, self.left = getattr(os, name), nth
        monkeypatch.setattr(os, name, self)

    def __call__(self, *args, **options):
        self.left -= 1
        if self.left <= 0:
            raise FULL
        return self.real(*args, **options)


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir"])
def test_row_28_a_save_that_fails_at_any_call_keeps_the_old_checkpoint(tmp_path, call):
    for nth in range(1, calls_of_a_save(tmp_path / "whole", call) + 1):
        folder = tmp_path / str(nth)
        folder.mkdir()
        save(folder, 1)
        with pytest.MonkeyPatch.context() as patch:
            Failing(patch, call, nth)
            with pytest.raises(CheckpointError, match="No space left on device; free") as caught:
                save(folder, 2)
        assert "\n" not in str(caught.value)
        assert newest(folder) in (1, 2)
        assert load_weights(folder / "last.safetensors")[0]["w"].unique().numel() == 1
        assert not list(folder.rglob("*.tmp"))
        save(folder, 3)
        assert newest(folder) == 3


def calls_of_a_save(folder: Path, call: str) -> int:
    """How often a second save uses this system call."""
    folder.mkdir()
    save(folder, 1)
    with pytest.MonkeyPatch.context() as patch:
        counting = Failing(patch, call, MANY)
        save(folder, 2)
    assert counting.left < MANY
    return MANY - counting.left


@pytest.mark.skipif(os.name == "nt", reason="Windows has no RLIMIT_FSIZE")
def test_row_28_files_that_cannot_grow_are_one_checkpoint_error(tmp_path, python):
    """The limit stops real writes: those of safetensors' bytes, or only those of torch.save."""
    save(tmp_path, 1)
    code = """
import os, resource
from pathlib import Path
import torch
from engine.runs.checkpoint import CheckpointStore
from engine.errors import CheckpointError
for limit, numbers in ((50_000, 20_000), (50_000, 5_000)):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    weights = {"w": torch.full((numbers,), 2.0)}
    try:
        CheckpointStore(Path(FOLDER), {}).save(2, weights, {"step": 2, "w": torch.ones(20_000)})
    except CheckpointError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        print("error:", error)
"""
    child = python(code, FOLDER=str(tmp_path))
    assert child.wait() == 0, child.text
    errors = [line for line in child.text.splitlines() if line.startswith("error:")]
    assert len(errors) == 2, child.text
    assert all("error: could not save 2" in line or "last" in line for line in errors)
    # Not torch's own text, which tells a place in its source instead of the reason.
    assert all(line.endswith("File too large, then resume the run") for line in errors)
    assert newest(tmp_path) == 1
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["1"]


def test_row_28_a_run_on_a_full_disk_fails_with_advice_and_goes_on_later(
    make_run, train_run, checkpoint_of, same, lasting
):
    run, whole = make_run("a"), make_run("b")
    train_run(whole)
    with pytest.MonkeyPatch.context() as patch:
        seen = []

        def fill_disk(record):
            seen.append(record)
            if len(seen) == 6:
                patch.setattr("engine.runs.checkpoint._write_synced", full)

        def full(path, content):
            raise FULL

        assert train_run(run, on_record=fill_disk) is State.FAILED
    message = run.status().message
    assert message.startswith("could not save 3: No space left on device; free some space")
    assert "then resume the run" in message
    assert CheckpointStore(run.path, {}).load_newest().step == 0
    assert train_run(run) is State.FINISHED
    assert same(checkpoint_of(run.path), checkpoint_of(whole.path))
    assert lasting(run.records()[0]) == lasting(whole.records()[0])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_row_28_records_that_cannot_be_written_fail_the_run(make_run, train_run):
    run = make_run()

    def swap(record):
        (run.path / "metrics.jsonl").unlink(missing_ok=True)
        (run.path / "metrics.jsonl").symlink_to("/dev/full")

    assert train_run(run, on_record=swap) is State.FAILED
    assert "metrics.jsonl cannot be written: No space left on device; free" in run.status().message
    (run.path / "metrics.jsonl").unlink()
    assert train_run(run) is State.FINISHED
    assert [record["step"] for record in run.records()[0]] == [1, 2, 3, 3, 4, 5, 6, 6]


def test_row_28_when_not_even_the_status_can_be_written_the_run_is_interrupted(make_run, train_run):
    run = make_run()
    with pytest.MonkeyPatch.context() as patch:

        def fill_disk(record):
            patch.setattr(files, "replace", Failing(patch, "replace", 1))

        assert train_run(run, on_record=fill_disk) is State.FAILED
    assert run.status().state is State.INTERRUPTED
    assert train_run(run) is State.FINISHED


def test_row_28_a_file_where_the_checkpoint_folder_should_be(make_run, train_run):
    run = make_run()
    (run.path / "resume").write_text("in the way")
    assert train_run(run) is State.FAILED
    assert "could not save 0: File exists" in run.status().message
    assert (run.path / "resume").read_text() == "in the way"
    (run.path / "resume").unlink()
    assert train_run(run) is State.FINISHED


def test_row_28_an_error_of_several_lines_is_one_line():
    error = RuntimeError("[enforce fail at inline_container.cc:858] . unexpected pos 64\nframe 0")
    assert session.explain(error).startswith("RuntimeError: [enforce fail")
    assert "\n" not in session.explain(error)


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "check the folder's permissions"),
        (errno.EACCES, "check the folder's permissions"),
        (errno.EIO, None),
    ],
)
def test_row_28_the_advice_fits_the_reason(code, advice):
    """A read-only folder is no matter of space."""
    reason = os.strerror(code)
    told = session.explain(OSError(code, reason, "/somewhere/metrics.jsonl"))
    middle = f"{reason}; {advice}" if advice else reason
    assert told == (
        f"a file cannot be read or written (metrics.jsonl): {middle}, then resume the run"
    )
