"""Row 62 of docs/FAULTS.md: uploads of own images that are hostile, or whose import is killed."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from engine import data, files
from engine.data import own
from engine.errors import DataError


def png(value: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (32, 32), (value, value, 90)).save(file, "PNG")
    return file.getvalue()


def two() -> own.Open:
    return own.open_files(
        {name: [(f"{i}.png", png(50 * n + i)) for i in range(3)] for n, name in enumerate("ab")}
    )


def zip_of(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, name in enumerate(names):
            archive.writestr(name, png(number))
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no zip", "not a complete zip"),
        (zip_of("a/1.png", "a/2.png", "b/1.png", "b/2.png")[:-30], "not a complete zip"),
        (zip_of("a/1.png", "../b/1.png"), "points outside"),
        (zip_of("a/1.png", "/etc/1.png"), "not a plain relative path"),
        (zip_of("a:b/1.png", "a:b/2.png", "c/1.png", "c/2.png"), "class 'a:b'|plain relative"),
        (zip_of("x?/1.png", "x?/2.png", "c/1.png", "c/2.png"), "class 'x?'"),
        (zip_of("a/1.png", "a/2.png"), "only one class"),
        (zip_of("a/1.zip", "b/1.png"), "archive within"),
    ],
)
def test_a_hostile_zip_is_refused_in_one_line_and_writes_nothing(tmp_path, content, words):
    with pytest.raises(DataError, match=words.replace("?", r"\?")) as caught:
        own.check(own.open_zip(content, "mine.zip"), "mine.zip")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a fork is killed")
@pytest.mark.parametrize("stage", ["write", "rename"])
def test_a_killed_import_leaves_no_set_and_its_remains_are_removed(tmp_path, monkeypatch, stage):
    checked = own.check(two(), "mine")
    child = os.fork()
    if child == 0:
        if stage == "write":
            monkeypatch.setattr(Path, "write_bytes", lambda *given: os._exit(9))
        else:
            monkeypatch.setattr(files, "replace", lambda *paths: os._exit(9))
        try:
            own.keep(checked, tmp_path, "mine")
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert own.list_sets(tmp_path) == []
    (rest,) = [path for path in (tmp_path / "own").iterdir() if path.name.endswith(".tmp")]
    os.utime(rest, (0, 0))
    place = own.keep(checked, tmp_path, "mine")
    assert not rest.exists() and own.list_sets(tmp_path) == [place]
    assert data.load(str(place), tmp_path).classes == ("a", "b")
