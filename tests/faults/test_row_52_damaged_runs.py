"""Row 52 of docs/FAULTS.md: a damaged file of a run, whatever it is and whatever happened to it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
from pathlib import Path

import pytest

import train
from engine import runs
from engine.errors import RunError
from engine.files import STALE_S
from engine.runs.run import State
from engine.training.records import Note
from pages.ui import folders, process

PAGES = {
    "Home": "app.py",
    "Train": "pages/1_Train.py",
    "Runs": "pages/2_Runs.py",
    "Studies": "pages/3_Studies.py",
    "Augmentations": "pages/4_Augmentations.py",
    "Classify": "pages/5_Classify.py",
    "Inspect": "pages/6_Inspect.py",
}
FILES = (
    *("config.json", "status.json", "metrics.jsonl", "note.txt", "train.log", "control.json"),
    "title.txt",
    *("holder.json", "run.lock", "last.safetensors", "best.safetensors", "resume"),
)


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def as_folder(path: Path) -> None:
    remove(path)
    (path / "inside").mkdir(parents=True)


def as_file(content: bytes, path: Path) -> None:
    remove(path)
    path.write_bytes(content)


def as_huge(path: Path) -> None:
    as_file(b"", path)
    os.truncate(path, 2**36)  # a hole: it takes no space


def as_loop(path: Path) -> None:
    """A file that nobody, root included, can open."""
    remove(path)
    path.symlink_to(path.name)


def as_pipe(path: Path) -> None:
    remove(path)
    os.mkfifo(path)


def truncate(path: Path) -> None:
    if path.is_file():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "empty": lambda path: as_file(b"", path),
    "truncated": truncate,
    "binary": lambda path: as_file(b"\xff\xfe\0\x80" * 50 + b"\n", path),
    "folder": as_folder,
    "unreadable": as_loop,
    "missing": remove,
    "huge": as_huge,
}
if hasattr(os, "mkfifo"):  # not on Windows
    DAMAGES["pipe"] = as_pipe
STATUS = {"state": "finished", "epochs": 2}
SHAPES = {
    "config.json": [
        [],
        3,
        {"unknown": 1},
        {"model": 3},
        {"epochs": None},
        {"schema": 99},
        {"dataset_info": 3},
        {"dataset_info": {"name": 1, "classes": 5, "mean": "x", "std": None}},
    ],
    "status.json": [
        [],
        {},
        {"state": ["finished"]},
        {"state": "damaged"},
        {**STATUS, "epochs": "many"},
        {**STATUS, "created": 1e300},
        {**STATUS, "created": -1e9},
        {**STATUS, "seconds": float("nan")},
        {**STATUS, "final_acc": "high"},
        {**STATUS, "steps": 10**400, "step": 1},
        {**STATUS, "message": 5},
        {**STATUS, "notes": [1]},
        {**STATUS, "val_is_test": 1},
    ],
    "control.json": [[], {"command": ["stop"]}],
    "holder.json": [[], {"role": None}],
}
EPOCH = {
    "kind": "epoch", "epoch": 1, "step": 1, "train_loss": 2.0, "train_acc": 0.1, "val_loss": 1.0,
    "val_acc": 0.5, "lr": 0.1,
}  # fmt: skip
ROWS = [
    {**EPOCH, "val_acc": None},
    {**EPOCH, "val_acc": "high"},
    {**EPOCH, "epoch": "first"},
    {**EPOCH, "epoch": 1.5},
    {**EPOCH, "train_loss": [1]},
    {**EPOCH, "val_loss": float("nan")},
    {**EPOCH, "lr": 10**400},
    {**EPOCH, "kind": ["epoch"]},
    {"kind": "epoch"},
    {"kind": "step", "step": True, "epoch": 1, "loss": 1.0, "acc": 0.1, "lr": 0.1},
    {"kind": "step", "step": 2, "epoch": 1, "loss": None, "acc": 0.1, "lr": 0.1},
    [],
    7,
]


@pytest.fixture
def whole(finished) -> Path:
    """A finished run with every file that a run may have."""
    path = finished("whole").path
    for name in ("last.safetensors", "best.safetensors", "train.log", "note.txt", "title.txt"):
        (path / name).write_bytes(b"some contents")
    (path / "holder.json").write_text('{"role": "the app", "pid": 1, "host": "h"}')
    (path / "control.json").write_text('{"command": "stop"}')
    (path / "resume" / "2").mkdir(parents=True)
    return path


def copy(whole: Path, name: str) -> Path:
    path = whole.with_name(name)
    shutil.copytree(whole, path)
    return path


def damaged_runs(whole: Path, groups: tuple[tuple[str, ...], ...]) -> list[str]:
    """The names of copies of `whole`, each with one damage to the files of one group."""
    names = []
    for group in groups:
        for damage, apply in DAMAGES.items():
            names.append(f"{group[0]}-{damage}")
            path = copy(whole, names[-1])
            for file in group:
                apply(path / file)
    for file, shapes in SHAPES.items():
        for number, shape in enumerate(shapes):
            names.append(f"{file}-shape-{number}")
            (copy(whole, names[-1]) / file).write_text(json.dumps(shape))
    names.append("rows")
    with (copy(whole, "rows") / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(row) + "\n" for row in ROWS)
    return names


@pytest.mark.parametrize("page", PAGES)
def test_row_52_no_page_ends_in_an_error_and_every_run_is_shown(app, whole, page):
    names = damaged_runs(whole, tuple((file,) for file in FILES))
    at = app(PAGES[page])
    assert not at.exception
    if page == "Runs":
        assert set(at.dataframe[0].value["Run"]) == {"whole", *names}
    if page == "Home":
        links = [link.proto.label for link in at.get("page_link")]
        assert "All runs" in links


@pytest.mark.slow
def test_row_52_every_damaged_run_opens(app, whole, tmp_path, monkeypatch):
    for name in damaged_runs(whole, (FILES[:1], FILES[1:2], FILES[2:])):
        alone = tmp_path / "alone" / name  # or every rerun would draw the table of them all
        alone.mkdir(parents=True)
        whole.with_name(name).rename(alone / name)
        monkeypatch.setattr(folders, "RUN_ROOT", alone)
        at = app(PAGES["Runs"], run=name)
        assert not at.exception, name
        headings = [text.value for text in (*at.subheader, *at.caption)]
        assert name in headings, name  # the name is beside the title


# What is done to a run with such a file.


def test_row_52_a_note_of_any_encoding_is_shown(app, finished):
    run = finished("noted")
    (run.path / "note.txt").write_bytes("schön".encode("latin-1"))
    at = app(PAGES["Runs"], run="noted")
    assert not at.exception
    assert at.text_area(key="note_noted").value == "sch\N{REPLACEMENT CHARACTER}n"


@pytest.mark.parametrize("damage", [d for d in DAMAGES if d not in ("missing", "truncated")])
def test_row_52_without_a_readable_title_the_name_stands_alone(app, finished, damage):
    run = finished("whole")
    run.set_title("My best")
    DAMAGES[damage](run.path / "title.txt")
    assert run.title() == ""
    told = [p for p in run.problems() if p.startswith("title.txt ")]
    assert bool(told) is (damage != "empty")
    at = app(PAGES["Runs"], run="whole")
    assert not at.exception
    assert "whole" in [text.value for text in at.subheader]
    assert at.text_input(key="title_whole").value == ""


def test_row_52_saving_a_title_says_why_it_cannot(app, finished):
    run = finished("titled")
    as_folder(run.path / "title.txt")
    at = app(PAGES["Runs"], run="titled")
    at.text_input(key="title_titled").set_value("My best").run()
    assert not at.exception
    assert "title.txt cannot be written" in "".join(error.value for error in at.error)


def test_row_52_a_folder_of_runs_that_cannot_be_read_is_said(app, monkeypatch, runs_root):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    for page in PAGES.values():
        at = app(page)
        assert not at.exception
    assert "cannot read the folder of runs" in app(PAGES["Runs"]).error[0].value


@pytest.mark.parametrize("file", ["weights.safetensors", "state.pt", "manifest.json"])
def test_row_52_a_checkpoint_that_is_passed_over_is_told(
    make_run, train_run, checkpoint_of, same, lasting, file, one_thread, every_step
):
    """In the log, in the status and to who watches; the training ends as it would have."""
    run, whole = make_run("a"), make_run("b")
    train_run(whole)
    seen = []
    train_run(run, ask=lambda: "stop" if len(seen) > 12 else None, on_record=seen.append)
    newest = sorted((run.path / "resume").iterdir(), key=lambda path: float(path.name))[-1]
    (newest / file).write_bytes(b"damaged")
    seen.clear()
    assert train_run(run, on_record=seen.append) is State.FINISHED
    (note,) = [record.text for record in seen if isinstance(record, Note)]
    assert f"checkpoint is damaged ({newest.name}): resuming from step" in note
    assert run.status().notes == [note] and note in run.log()
    assert same(checkpoint_of(run.path), checkpoint_of(whole.path))
    assert lasting(run.records()[0]) == lasting(whole.records()[0])


@pytest.mark.parametrize("damage", ["missing", "binary", "folder"])
def test_row_52_records_that_are_gone_are_missed_at_a_resume(
    make_run, train_run, damage, one_thread, every_step
):
    run, seen = make_run(), []
    train_run(run, ask=lambda: "stop" if run.epochs() else None)
    DAMAGES[damage](run.path / "metrics.jsonl")
    state = train_run(run, on_record=seen.append)
    if damage == "folder":
        assert state is State.FAILED
        assert "metrics.jsonl cannot be written: Is a directory" in run.status().message
        return
    (note,) = [record.text for record in seen if isinstance(record, Note)]
    assert "lacks records of epoch 1" in note and note in run.log()
    assert run.status().notes == [note]


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_row_52_any_record_of_a_checkpointed_step_is_missed(
    make_run, train_run, gone, one_thread, every_step
):
    """In the first epoch as well as within a finished one, which has others."""
    run, seen = make_run(), []
    done = 2 if gone == 1 else 3
    train_run(run, ask=lambda: "stop" if run.status().step >= done else None)
    kept = [record for record in run.records()[0] if record["step"] != gone]
    (run.path / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in kept))
    train_run(run, on_record=seen.append)
    (note,) = [record.text for record in seen if isinstance(record, Note)]
    assert "lacks records of epoch 1" in note


def test_row_52_a_run_without_its_checkpoints_does_not_start_anew(
    make_run, train_run, worker, capsys, one_thread, every_step
):
    """Its records would be dropped; an untrained one has none."""
    run = make_run()
    (run.path / "status.json").write_text("{")
    train_run(run, ask=lambda: "stop" if run.status().step >= 2 else None)
    remove(run.path / "resume")
    for damage in (lambda: None, lambda: (run.path / "status.json").write_text("{")):
        damage()
        before = {file.name: file.read_bytes() for file in run.path.glob("*.json*")}
        assert train.main(["--name", "a", "--resume", "--run-root", str(run.path.parent)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "checkpoints (the folder resume) are gone: bring them back, or start a new" in line
        with pytest.raises(RunError, match="are gone"):
            worker.resume(run)
        after = {file.name: file.read_bytes() for file in run.path.glob("*.json*")}
        assert {**after, "holder.json": b""} == {**before, "holder.json": b""}


@pytest.mark.parametrize("steps", [1, 4])
def test_row_52_a_complete_run_has_no_note(make_run, train_run, steps, one_thread, every_step):
    run = make_run()
    train_run(run, ask=lambda: "stop" if run.status().step >= steps else None)
    assert train_run(run) is State.FINISHED
    assert run.status().notes == [] and run.problems() == []


def test_row_52_a_run_with_a_damaged_status_goes_on(make_run, train_run, one_thread):
    run = make_run()
    train_run(run, ask=lambda: "stop" if run.epochs() else None)
    (run.path / "status.json").write_text("{")
    assert run.status().state is State.DAMAGED
    assert train_run(run) is State.FINISHED
    status = run.status()
    assert (status.state, status.epoch, status.epochs) == (State.FINISHED, 2, 2)
    assert status.final_acc == run.epochs()[-1]["val_acc"]


# A full disk, and a folder that may not be written.


@pytest.fixture(params=[errno.ENOSPC, errno.EROFS], ids=["full", "read-only"])
def no_writing(request, monkeypatch):
    """no_writing(): from then on no file can be made or written."""

    def refuse(*args, **options):
        raise OSError(request.param, os.strerror(request.param))

    def begin():
        monkeypatch.setattr("engine.files.replace", refuse)
        monkeypatch.setattr(Path, "unlink", refuse)

    return begin


@pytest.mark.parametrize("page", ["Runs", "Train"])
def test_row_52_resume_says_why_it_cannot(app, finished, no_writing, page):
    run = finished("stopped")
    (run.path / "resume" / "2").mkdir(parents=True)
    with run.hold("a test") as writer:
        writer.update(state=State.STOPPED)
    at = app(PAGES[page], run="stopped")
    no_writing()
    at.button(key="resume").click().run()
    assert not at.exception
    assert "cannot be written" in at.error[0].value


def test_row_52_saving_a_note_says_why_it_cannot(app, finished, no_writing):
    finished("noted")
    at = app(PAGES["Runs"], run="noted")
    no_writing()
    at.text_area(key="note_noted").set_value("more width helps").run()
    assert not at.exception
    assert "note.txt cannot be written" in at.error[0].value


def test_row_52_a_run_is_deleted_from_a_full_disk(app, finished, monkeypatch):
    """The holder's file cannot be written, nor a lock file be made."""
    run = finished("big")
    (run.path / "run.lock").unlink(missing_ok=True)
    at = app(PAGES["Runs"], run="big")

    def refuse(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("engine.files.write_atomic", refuse)
        full.setattr("filelock.FileLock.acquire", refuse)
        at.button(key="delete").click().run()
    assert not at.exception and not at.error
    assert not run.path.exists()


def test_row_52_a_run_that_cannot_be_deleted_stays_and_says_why(app, finished, monkeypatch):
    run = finished("kept")
    at = app(PAGES["Runs"], run="kept")

    def refuse(*args, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("engine.runs.trash.replace", refuse)
    at.button(key="delete").click().run()
    assert not at.exception and run.path.exists()
    assert "cannot be deleted\\: Read-only file system; check" in at.error[0].value


def test_row_52_the_terminal_says_in_a_line_why_it_cannot_resume(
    make_run, train_run, tiny_args, no_writing, capsys, one_thread
):
    run = make_run()
    train_run(run, ask=lambda: "stop" if run.epochs() else None)
    no_writing()
    args = ["--name", "a", "--resume", "--run-root", str(run.path.parent)]
    assert train.main(args) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "control.json cannot be written: " in line


# Leftovers of processes that were killed.


def old(path: Path) -> Path:
    path.mkdir() if path.suffix == ".trash" else path.write_text("left")
    os.utime(path, times=(0, time.time() - 2 * STALE_S))
    return path


def test_row_52_a_writer_sweeps_what_killed_writers_left(make_run):
    run = make_run()
    (run.path / "resume" / ".3.tmp").mkdir(parents=True)
    for name in (".status.json.1-2.tmp", ".metrics.jsonl.1-2.tmp", ".best.safetensors.1-2.tmp"):
        (run.path / name).write_text("left")
    asking = run.path / ".control.json.1-2.tmp"  # perhaps being written: this needs no lock
    asking.write_text("left")
    with run.hold("test"):
        left = {path.name for path in run.path.rglob(".*")}
    assert left == {asking.name}
    asking.unlink()
    old(asking.with_name(f".control.json.{NOBODY}-2.tmp"))
    with run.hold("test"):
        assert not list(run.path.rglob(".*"))


NOBODY = 2**22 + 1  # above the largest process id of Linux


def test_row_52_the_start_of_the_app_sweeps_the_folder_of_studies(tmp_path, monkeypatch):
    folder = tmp_path / "studies" / "norms"
    (folder / "imported").mkdir(parents=True)
    (folder / "study.json").write_text("{")
    old(folder / f".study.json.{NOBODY}-2.tmp")
    old(folder / "imported" / f".a.json.{NOBODY}-2.tmp")
    kept = folder / "imported" / "a.json"
    kept.write_text("[]")
    monkeypatch.setattr(folders, "RUN_ROOT", tmp_path / "runs")
    monkeypatch.setattr(folders, "DATA_ROOT", tmp_path / "data")
    monkeypatch.setattr(folders, "STUDY_ROOT", tmp_path / "studies")
    monkeypatch.setattr(process, "prepare_shapes", lambda: None)
    process.prepare()
    assert [path for path in folder.rglob("*") if path.is_file()] == [folder / "study.json", kept]


def test_row_52_the_start_of_the_app_and_a_new_run_sweep_the_folder_of_runs(make_run, tmp_path):
    run = make_run("a")
    for begin in (lambda: runs.sweep(tmp_path), lambda: make_run("b")):
        old(tmp_path / f".c.{NOBODY}.tmp"), old(tmp_path / f".d.{NOBODY}.trash")
        fresh = tmp_path / f".e.{NOBODY}.tmp"
        fresh.write_text("perhaps just being made")
        alive = old(tmp_path / f".f.{os.getpid()}.tmp")
        begin()
        names = {path.name for path in tmp_path.iterdir()} - {"a", "b", ".create.lock"}
        assert names == {fresh.name, alive.name}
    (run.path / ".status.json.1-2.tmp").write_text("left")
    with run.hold("test"):
        (run.path / ".status.json.3-4.tmp").write_text("being written")
        runs.sweep(tmp_path)
        assert (run.path / ".status.json.3-4.tmp").exists()
    runs.sweep(tmp_path)
    assert not list(run.path.glob(".*"))
