"""Atomic replacement: the order of the system calls, and the state after an error."""

import errno
import os
import stat
from types import SimpleNamespace

import pytest

from engine import files
from engine.files import replace, write_atomic


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The calls of os.fsync (of files and folders) and os.replace, in order."""
    seen = []
    fsync, move = os.fsync, os.replace

    def note_fsync(handle):
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        seen.append(f"sync {kind}")
        fsync(handle)

    def note_replace(source, target):
        seen.append("replace")
        move(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    return seen


@pytest.mark.parametrize("content", ["text ×", b"\0bytes"])
@pytest.mark.parametrize("durable", [True, False])
def test_the_file_is_replaced_whole_and_nothing_else_is_left(tmp_path, content, durable):
    path = tmp_path / "status.json"
    path.write_bytes(b"old")
    write_atomic(path, content, durable=durable)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no call to sync a folder")
def test_a_durable_write_syncs_the_file_before_and_the_folder_after_the_rename(tmp_path, calls):
    write_atomic(tmp_path / "a", "x")
    assert calls == ["sync file", "replace", "sync folder"]


def test_a_write_that_is_not_durable_does_not_sync(tmp_path, calls):
    write_atomic(tmp_path / "a", "x", durable=False)
    assert calls == ["replace"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_an_error_leaves_the_old_file_and_no_temporary(tmp_path, monkeypatch, broken):
    path = tmp_path / "status.json"
    path.write_text("old")

    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def windows(refusals: int, moved: list):
    """A fake `os` whose replace fails `refusals` times, as while a reader has the file open."""

    def move(source, target):
        if len(moved) < refusals:
            moved.append(None)
            raise PermissionError(errno.EACCES, "Access is denied")
        moved.append((source, target))

    return SimpleNamespace(name="nt", replace=move)


def test_replace_waits_out_a_windows_reader(monkeypatch):
    moved = []
    monkeypatch.setattr(files, "os", windows(3, moved))
    monkeypatch.setattr(files, "RETRY_WAIT_S", 0)
    replace("a", "b")
    assert moved == [None, None, None, ("a", "b")]


def test_replace_gives_up_on_a_reader_that_stays(monkeypatch):
    moved = []
    monkeypatch.setattr(files, "os", windows(10_000, moved))
    monkeypatch.setattr(files, "RETRY_WAIT_S", 0)
    with pytest.raises(PermissionError):
        replace("a", "b")
    assert len(moved) == files.RETRIES + 1


def test_a_reader_waits_out_a_windows_writer(monkeypatch, tmp_path):
    path, tried = tmp_path / "status.json", []
    path.write_bytes(b"{}")

    def refuse_twice(path):
        tried.append(path)
        if len(tried) < 3:
            raise PermissionError(errno.EACCES, "Access is denied")
        return path.open("rb")

    monkeypatch.setattr(files, "open_regular", refuse_twice)
    with pytest.raises(PermissionError):
        files.read_regular(path, 10)
    monkeypatch.setattr(files, "RETRY_WAIT_S", 0)
    monkeypatch.setattr(files, "os", SimpleNamespace(name="nt"))
    tried.clear()
    assert files.read_regular(path, 10) == b"{}" and len(tried) == 3


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_flush_folders_is_no_failure(monkeypatch, tmp_path, code):
    def refuse(handle):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    files.sync_folder(tmp_path)


def test_elsewhere_a_refusal_is_final(monkeypatch):
    moved = []
    refusing = windows(10_000, moved)
    refusing.name = "posix"
    monkeypatch.setattr(files, "os", refusing)
    with pytest.raises(PermissionError):
        replace("a", "b")
    assert len(moved) == 1
