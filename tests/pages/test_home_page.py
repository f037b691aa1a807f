"""Home: what is here, what is missing, and where to go next."""

from __future__ import annotations

import subprocess

from engine.data import background
from pages.ui import folders


def texts(at) -> str:
    parts = [*at.markdown, *at.caption, *at.info, *at.warning, *at.subheader]
    return "\n".join(part.value for part in parts)


def test_first_visit_says_what_to_do_next(app):
    at = app()
    assert not at.exception
    assert "Nothing has been trained yet" in texts(at)
    assert "Shapes" in texts(at)
    links = [link.proto.label for link in at.get("page_link")]
    assert "Train a first network" in links


def test_lists_the_latest_runs_with_what_their_accuracy_was_measured_on(app, finished):
    finished("first-run")
    at = app()
    assert "first-run" in [link.proto.label for link in at.get("page_link")]
    assert "40.00 % on test images" in texts(at)


def test_a_failed_download_tells_the_ways_on_and_offers_another_try(app, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise ValueError("CIFAR-10 is out of reach; use the built-in data set")

    monkeypatch.setattr(background.data, "load", fail)
    monkeypatch.setattr(folders, "DATA_ROOT", tmp_path)
    at = app()
    at.button(key="download_cifar10").click().run()
    fetch = background.current("cifar10", tmp_path)
    fetch.join(10)
    at.run()
    assert "out of reach" in texts(at)
    assert at.button(key="download_cifar10").label == "Try again"


def test_a_download_shows_its_progress_and_can_be_cancelled(app, monkeypatch, wait_for, tmp_path):
    def slow(dataset, root, *, progress, cancelled, **options):
        progress(background.Progress("downloading cifar10", 50_000_000, 170_000_000, "bytes", 1e6))
        wait_for(cancelled)
        raise background.Cancelled("cancelled")

    monkeypatch.setattr(background.data, "load", slow)
    monkeypatch.setattr(folders, "DATA_ROOT", tmp_path)
    at = app()
    at.button(key="download_cifar10").click().run()
    fetch = background.current("cifar10", tmp_path)
    wait_for(lambda: fetch.progress)
    at.run()
    shown = at.get("progress")[0].proto.text
    assert shown == "downloading cifar10: 50 of 170 MB, 1.0 MB/s, 2:00 left"
    at.button(key="cancel_download_cifar10").click().run()
    fetch.join(10)
    at.run()
    assert "Cancelled" in texts(at)


def test_explains_an_nvidia_card_that_torch_cannot_use(app, monkeypatch):
    def listing(*args, **kwargs):
        return subprocess.CompletedProcess(args, 0, stdout="GPU 0: NVIDIA RTX 4090 (UUID: …)\n")

    monkeypatch.setattr("shutil.which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(subprocess, "run", listing)
    assert "CUDA build" in texts(app())


def test_says_nothing_of_cards_where_there_is_none(app, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda tool: None)
    assert "CUDA build" not in texts(app())
