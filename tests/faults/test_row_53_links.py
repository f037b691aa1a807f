"""Row 53 of docs/FAULTS.md: links, flags and uploads that name what has no end."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from pathlib import Path

import pytest
import streamlit as st

import train
from engine import data
from engine.config import DataConfig
from engine.data import background, listing
from engine.errors import DataError
from pages.ui import folders, importing, readings, refresh

PAGE = "pages/1_Train.py"
SECONDS = 20  # a guard against hanging for ever, not a measure of speed

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


@pytest.fixture
def special(tmp_path):
    """special(kind): the path of a file that blocks or has no end."""

    def make(kind: str) -> str:
        path = tmp_path / f"own-{kind}"
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
        elif kind == "link to a device":
            path.symlink_to("/dev/zero")
        elif kind == "circle":
            path.symlink_to(path)
        elif kind == "images that are pipes":
            for name in ("a/1", "a/2", "b/1", "b/2"):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                os.mkfifo(path / f"{name}.png")
        elif kind == "images that are devices":
            for name in ("a/1", "a/2", "b/1", "b/2"):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / f"{name}.png").symlink_to("/dev/zero")
        elif kind == "huge":
            path.touch()
            os.truncate(path, 2**42)
        else:
            return kind
        return str(path)

    return make


KINDS = [
    *("pipe", "socket", "link to a device", "circle", "huge"),
    *("images that are pipes", "images that are devices"),
    *("/dev/zero", "/dev/random", "/dev/stdin", "/dev/tty", "/dev/fd/0"),
    *("/proc/kmsg", "/proc/kcore", "/proc/self/mem", "/proc", "/sys", "/dev"),
    *("//server/share", "\\\\server\\share", "https://example.org/a.zip", "file:///etc"),
    *("smb://server/share", "a\0b", "a" * 5_000, "/" + "a/" * 5_000, "~nobody-here/x"),
]


def within_seconds(action):
    """The result of `action`, or a failure if it hangs."""
    box: list = []
    thread = threading.Thread(target=lambda: box.append(action()), daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), "it hangs"
    assert box, "it has raised"
    return box[0]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: repr(kind[:30]))
def test_row_53_a_data_set_is_a_file_or_a_folder(special, tmp_path, kind):
    given = special(kind)

    def load() -> str:
        try:
            data.load(given, tmp_path / "root")
        except DataError as error:
            return str(error)
        return ""

    told = within_seconds(load)
    assert told and "\n" not in told
    within_seconds(lambda: data.version(given) or True)
    if kind in ("pipe", "socket"):
        assert f"is a {kind}; give the path of a folder or zip" in told
    if kind == "huge":
        assert "not a complete zip file" in told


@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "images that are pipes", "/proc", "circle"])
def test_row_53_the_link_of_a_page_ends_in_a_message(app, special, kind):
    choices = json.dumps({"data.dataset": special(kind)})
    begun = time.monotonic()
    at = app(PAGE, choices=choices)
    assert time.monotonic() - begun < SECONDS
    assert not at.exception
    assert "Cannot start" in at.error[0].value
    assert at.button(key="start").disabled


@pytest.mark.parametrize("flag", ["--dataset", "--pretrained", "--evaluate"])
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "/proc/kmsg", "circle"])
def test_row_53_the_terminal_ends_in_one_line(special, tiny_args, tmp_path, capsys, flag, kind):
    args = tiny_args(tmp_path / "runs", flag, special(kind))
    assert within_seconds(lambda: [train.main(args)]) == [2]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train.py: ")
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/status.json"))


@pytest.mark.parametrize("kind", ["pipe", "link to a device", "/proc/kmsg", "huge", "a\0b"])
def test_row_53_weights_that_a_link_names_are_refused(app, special, kind):
    begun = time.monotonic()
    at = app(PAGE, choices=json.dumps({"pretrained": special(kind)}))
    assert time.monotonic() - begun < SECONDS
    assert not at.exception
    assert at.error or at.warning  # of the form, or of the link as a whole
    assert at.button(key="start").disabled or at.warning


def test_row_53_a_folder_with_too_many_files_is_left_after_the_limit(tmp_path, monkeypatch):
    """Of folders too: a tree of empty folders has no file that would count."""
    monkeypatch.setattr(listing, "MAX_ENTRIES", 50)
    for number in range(60):
        (tmp_path / "own" / str(number)).mkdir(parents=True)
    with pytest.raises(DataError, match="more than 50 files and folders"):
        data.load(str(tmp_path / "own"), tmp_path / "root")
    assert not data.is_watched(data.version(str(tmp_path / "own")))


def test_row_53_a_very_deep_folder_is_listed_in_little_time(tmp_path):
    path, name = tmp_path / "own", "d" * 20
    path.mkdir()
    handle = os.open(path, os.O_RDONLY)
    try:
        for _depth in range(400):  # deeper than a path may be long
            os.mkdir(name, dir_fd=handle)
            inner = os.open(name, os.O_RDONLY, dir_fd=handle)
            os.close(handle)
            handle = inner
    finally:
        os.close(handle)
    assert 400 * len(name) > 4_096
    begun = time.monotonic()
    with pytest.raises(DataError):
        data.load(str(path), tmp_path / "root")
    data.version(str(path))
    assert time.monotonic() - begun < SECONDS


def test_row_53_links_in_circles_are_followed_once(tmp_path):
    for a in range(6):
        (tmp_path / "own" / f"f{a}").mkdir(parents=True)
        for b in range(6):
            (tmp_path / "own" / f"f{a}" / f"to{b}").symlink_to(tmp_path / "own" / f"f{b}")
    version = within_seconds(lambda: data.version(str(tmp_path / "own")))
    assert data.is_watched(version)


def make_own(tmp_path: Path, picture) -> Path:
    for name in ("a/1", "a/2", "b/1", "b/2"):
        path = tmp_path / "own" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture())
    return tmp_path / "own"


def texts(at) -> str:
    return "\n".join(part.value for part in [*at.caption, *at.markdown, *at.error])


def test_row_53_a_folder_too_large_to_be_watched_is_said(app, tmp_path, picture, monkeypatch):
    path = make_own(tmp_path, picture)
    monkeypatch.setattr(listing, "WATCH_S", -1.0)
    at = app(PAGE, choices=json.dumps({"data.dataset": str(path)}))
    assert not at.exception
    assert "This folder is large\\: files that are added" in texts(at)


@pytest.fixture
def slow_import(tmp_path, picture, monkeypatch):
    """(path of own images, function that ends their import, which goes on until then)."""
    path, go_on, load = make_own(tmp_path, picture), threading.Event(), data.load

    def slow(dataset, root, **options):
        if dataset == str(path):
            go_on.wait(SECONDS)
        return load(dataset, root, **options)

    def end():
        fetch = readings.pending_import(str(path), DataConfig().fit)
        go_on.set()
        fetch.join(SECONDS)
        monkeypatch.setattr(readings, "PATIENCE_S", SECONDS)

    monkeypatch.setattr(background.data, "load", slow)
    monkeypatch.setattr(readings, "PATIENCE_S", 0.1)
    yield path, end
    go_on.set()


def test_row_53_a_page_does_not_wait_for_a_long_import(app, slow_import):
    """It shows how far the import is, and what was read once it has ended."""
    path, end = slow_import
    at = app(PAGE, choices=json.dumps({"data.dataset": str(path)}))
    assert not at.exception and not at.error
    assert "once the images have been read" in texts(at)
    assert at.button(key="start").disabled
    at.text_input(key="run_name").set_value("named while it waits").run()
    end()
    at.run()
    assert not at.exception and "**2 classes**" in texts(at)
    assert not at.button(key="start").disabled
    assert at.text_input(key="run_name").value == "named while it waits"
    assert background.current(str(path), folders.DATA_ROOT) is not None


def raiser(error):
    def fail():
        raise error

    return fail


def test_row_53_augmentations_are_drawn_once_a_long_import_has_ended(app, slow_import, monkeypatch):
    path, end = slow_import
    repeat, looks = refresh.repeat, {}

    def kept(draw, every):
        looks[draw.__name__] = every
        return repeat(draw, every)

    monkeypatch.setattr(refresh, "repeat", kept)
    at = app()
    at.session_state["dataset"], at.session_state["dataset_path"] = "own", str(path)
    at.switch_page("pages/4_Augmentations.py").run()
    assert not at.exception and not at.subheader
    assert "once the images have been read" in texts(at)
    assert looks[importing._look.__name__] == refresh.INTERVAL_S
    end()
    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(st, "rerun", raiser(InterruptedError))
        importing._look(str(path), DataConfig().fit, "Nothing")
    at.run()
    assert not at.exception and len(at.subheader) == 7


def test_row_53_an_upload_that_was_not_offered_is_refused_and_the_page_goes_on(app):
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    at = app("pages/4_Augmentations.py")
    at.file_uploader(key="upload").set_value([("a.svg", svg, "image/svg+xml")]).run()
    assert not at.exception
    assert "This image cannot be used" in at.error[0].value
    at.button(key="new_seed").click().run()
    assert not at.exception
