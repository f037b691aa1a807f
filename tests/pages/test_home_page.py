"""Home: what is here, what is missing, and where to go next."""

from __future__ import annotations

import base64
import subprocess

import pytest

from engine import runs
from engine.config import with_fields
from engine.data import background, cifar
from engine.errors import DataError
from engine.presets import PRESETS
from engine.runs.run import Run, State
from pages.ui import folders, home, process


def texts(at) -> str:
    parts = [*at.markdown, *at.caption, *at.info, *at.warning, *at.subheader]
    return "\n".join(part.value for part in parts)


def test_a_first_visit_offers_one_click_that_trains(app, monkeypatch):
    submitted = []

    class Worker:
        current, idle = None, True

        def submit(self, config, name, root):
            submitted.append((config, name))
            return Run(root / name)

    monkeypatch.setattr(process, "worker", Worker)
    at = app()
    assert not at.exception
    assert "Shapes" in texts(at)
    button = at.button(key="train_first")
    assert button.label == "Train your first network (about a minute on a quiet laptop)"
    button.click().run()
    ((config, name),) = submitted
    values = PRESETS["minute"].config()
    assert with_fields(config, {"data.root": values.data.root}) == values
    assert name == "my-first-network"
    assert at.session_state["watching"] == name


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("app.py", "Train your first network (about 5.0 min on this machine)"),
        ("pages/2_Runs.py", "it takes about 5.0 min on this machine."),
        ("pages/5_Classify.py", "a first one takes about 5.0 min on this machine."),
        ("pages/6_Inspect.py", "a first one takes about 5.0 min on this machine."),
    ],
)
def test_a_slow_machine_is_not_promised_a_minute(page, words, app, monkeypatch, tmp_path):
    monkeypatch.setattr(process, "epoch_seconds", lambda config: 75.0)
    monkeypatch.setattr(folders, "SHIPPED", tmp_path)
    home.sample_answer.clear()
    at = app(page)
    home.sample_answer.clear()
    assert not at.exception
    assert words in "\n".join([texts(at), *(button.label for button in at.button)])


def test_with_runs_the_button_leads_to_the_form(app, finished):
    finished("a")
    at = app()
    assert "train_first" not in [button.key for button in at.button]
    at.button(key="train").click().run()
    assert not at.exception
    assert at.title[0].value == "Train"


def test_a_sample_is_answered_by_the_shipped_network(app):
    answer = home.sample_answer()
    assert answer[0][0] == "ship"
    assert f"ship {100 * answer[0][1]:.0f} %" in texts(app())


def test_without_the_shipped_network_the_card_stays(app, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "SHIPPED", tmp_path)
    home.sample_answer.clear()
    at = app()
    home.sample_answer.clear()
    assert not at.exception
    assert "your own pictures" in texts(at)


def test_a_sparkline_rises_with_the_accuracy(finished):
    line = home.sparkline(finished("a", acc=(0.1, 0.2, 0.3)))
    assert "from 10 % to 30 %" in line
    svg = base64.b64decode(line.partition("base64,")[2][:-1]).decode()
    points = [float(p.split(",")[1]) for p in svg.partition('points="')[2].split('"')[0].split()]
    assert points == sorted(points, reverse=True) and points[0] > points[-1]


def test_a_failed_run_says_why(app, finished):
    run = finished("a")
    with run.hold("a test") as writer:
        writer.update(state=State.FAILED, message="out of memory\nmore")
    assert "out of memory" in texts(app())


def test_lists_the_latest_runs_with_what_their_accuracy_was_measured_on(app, finished):
    finished("first-run")
    at = app()
    assert "first-run" in [link.proto.label for link in at.get("page_link")]
    assert "40.00 % on test images" in texts(at)


def test_of_many_queued_runs_the_next_two_are_listed(app, finished, tiny):
    finished("done")
    for number in range(5):
        made = runs.create(folders.RUN_ROOT, f"queued-{number}", tiny(), study="norms")
        with made.hold("a test") as writer:
            writer.update(state=State.QUEUED, queued=10.0 - number)
    labels = [link.proto.label for link in app().get("page_link")]
    assert {label for label in labels if label.startswith("queued")} == {"queued-3", "queued-4"}
    assert "done" in labels and "All runs (3 more queued)" in labels


def test_a_failed_download_tells_the_ways_on_and_offers_another_try(app, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise DataError("out of reach")

    monkeypatch.setattr(cifar, "download", fail)
    monkeypatch.setattr(folders, "DATA_ROOT", tmp_path)
    at = app()
    at.button(key="download_cifar10").click().run()
    fetch = background.current("cifar10", tmp_path)
    fetch.join(10)
    at.run()
    (told,) = [warning.value for warning in at.warning if "out of reach" in warning.value]
    assert told.endswith("or use the built-in data set")
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
    assert shown == "downloading cifar10: 50 of 170 MB, 1.0 MB/s, 2.0 min left"
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
