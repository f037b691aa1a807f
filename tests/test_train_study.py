"""train.py --study: the plan, a study from a file, resuming it, and what is refused."""

import dataclasses
import signal
import sys

import pytest
from PIL import Image

import train
from engine import data, estimate
from engine.device import resolve
from engine.errors import ConfigError, RunError
from engine.estimate import Speed
from engine.runs.run import Run, State
from engine.studies import bundle, rates, run
from engine.studies import study as studies
from engine.studies.study import Factor, Study, Value
from engine.worker import Worker
from terminal.study import parse_seconds


@pytest.fixture
def study_file(tmp_path, shapes_root):
    norms = Factor("Norm", tuple(Value(n, {"model.norm": n}) for n in ("batch", "group")))
    base = {
        "data.dataset": "shapes",
        "data.limit": 20,
        "data.root": str(shapes_root),
        "model.arch": "vgg11",
        "model.width": 0.0625,
        "batch_size": 10,
        "epochs": 1,
        "device": "cpu",
    }
    study = Study("norms", "Does the norm matter?", (norms,), base, "batch", seeds=(0, 1))
    path = tmp_path / "norms.json"
    path.write_text(study.to_json())
    return path


@pytest.fixture
def command(tmp_path, monkeypatch):
    """command("--study", …) runs train.py in a folder of its own; the exit code."""
    monkeypatch.setattr("engine.estimate.measure_speed", lambda compute: Speed(1e-12, 1e-12, 1e-5))
    monkeypatch.setattr("terminal.study.get_worker", lambda device: Worker("cpu"))
    places = ["--study-root", str(tmp_path / "studies"), "--run-root", str(tmp_path / "runs")]
    return lambda *words: train.main([*words, *places])


def test_times():
    assert [parse_seconds(text) for text in ("90s", "30min", "1.5 h")] == [90, 1800, 5400]
    with pytest.raises(ConfigError, match="such as 90s"):
        parse_seconds("soon")


def test_the_plan_prints_a_command_for_each_run_and_ends(command, study_file, tmp_path, capsys):
    assert command("--study", str(study_file), "--plan", "--seeds", "3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Does the norm matter?"
    assert sum(line.startswith("python train.py --name norms-") for line in lines) == 6
    assert not (tmp_path / "studies").exists()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [".throughput.json"]


def test_a_plan_counts_ones_own_images_once(command, study_file, tmp_path, monkeypatch):
    for name in ("train/cat/1", "train/dog/2", "test/cat/3", "test/dog/4"):
        path = tmp_path / "pets" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 32), (10 * int(path.stem), 0, 0)).save(path)
    asked, load = [], data.load
    monkeypatch.setattr(data, "load", lambda *a, **more: asked.append(a) or load(*a, **more))
    words = ("--dataset", str(tmp_path / "pets"), "--time", "30s", "--plan")
    assert command("--study", str(study_file), *words) == 0
    assert len(asked) == 1


def test_the_first_seed_can_be_given(command, study_file, capsys):
    assert command("--study", str(study_file), "--plan", "--seed", "10") == 0
    printed = capsys.readouterr().out
    assert "--seed 10" in printed and "--seed 11" in printed and "--seed 12" not in printed


CODE = """
import train
from engine.training import loop
step = loop.train_step
def slow(*args):
    time.sleep(0.05)
    return step(*args)
import time
loop.train_step = slow
train.main(WORDS)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
# when: runs that have finished before.
@pytest.mark.parametrize("when", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_a_study_killed_and_resumed_gives_the_same_table(
    command, study_file, tmp_path, capsys, python, wait_for, one_thread, when
):
    text = study_file.read_text().replace('"epochs": 1', '"epochs": 3')
    study_file.write_text(text)
    study = Study.from_json(text)
    assert command("--study", str(study_file), "--name", "whole") == 0
    whole = capsys.readouterr().out

    killed = tmp_path / "killed"
    places = ["--study-root", str(killed / "studies"), "--run-root", str(killed / "runs")]
    speed = Speed(1e-12, 1e-12, 1e-5)
    estimate.store_speed(killed / "runs" / ".throughput.json", resolve("cpu", "auto"), speed)
    child = python(CODE, WORDS=["--study", str(study_file), *places])
    members = [Run(killed / "runs" / name) for name, _, _ in study.runs()]
    wait_for(lambda: members[when].exists() and members[when].status().epoch > 1, "an epoch")
    child.process.kill()
    assert child.wait() == -signal.SIGKILL
    states = [run.status().state for run in members]
    assert states == [State.FINISHED] * when + [State.INTERRUPTED] + [State.QUEUED] * (3 - when)

    assert train.main(["--study", str(study_file), "--resume", *places]) == 0
    again = capsys.readouterr().out
    assert table(again) == table(whole)
    ends = [run.path.joinpath("last.safetensors").stat().st_mtime_ns for run in members]
    assert ends == sorted(ends), "not in the study's order"


def table(printed: str) -> str:
    return printed[printed.index("Norm ") :]


def test_a_study_is_trained_and_resuming_it_gives_the_same_table(command, study_file, capsys):
    words = ("--study", str(study_file), "--seeds", "2", "--width", "0.0625")
    assert command(*words) == 0
    first = capsys.readouterr().out
    assert "Not counted" not in first
    assert command(*words, "--resume") == 0
    again = capsys.readouterr().out
    assert table(first) == table(again) and "baseline" in table(first)
    assert command("--study", str(study_file), "--resume") == 0
    for other, told in (
        (("--lr", "0.5"), "the study has 0.1, not 0.5"),
        (("--seeds", "3"), "has 2"),
    ):
        assert command("--study", str(study_file), "--resume", *other) == 2
        assert told in capsys.readouterr().err
    assert command("--study", str(study_file)) == 2
    assert "--resume continues it" in capsys.readouterr().err


def test_imported_seeds_count_in_the_printed_table(command, study_file, tmp_path, capsys):
    assert command("--study", str(study_file)) == 0
    capsys.readouterr()
    root = tmp_path / "studies"
    chosen = studies.load(root, "norms")
    here = run.outcomes(chosen, tmp_path / "runs")
    others = [
        dataclasses.replace(each, seed=each.seed + 10, block="other CPU", accuracy=0.9)
        for each in here
    ]
    bundle.unpack(bundle.pack(chosen, others), root, tmp_path)
    assert command("--study", "norms", "--resume") == 0
    rows = table(capsys.readouterr().out).splitlines()[1:3]
    counts = {row.split()[0]: int(row.split()[1]) for row in rows}
    for name in ("batch", "group"):  # runs as short as these may end at chance
        assert counts[name] == 2 + sum(each.counts for each in here if each.value == name)


def test_fair_rates_are_chosen_first_and_the_study_goes_on_with_them(
    command, study_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(rates, "SHARE", 0.01)  # the tests' data set has few images
    words = ("--study", str(study_file), "--fair-rates", "--seeds", "1")
    assert command(*words, "--plan") == 0
    assert capsys.readouterr().out.count("python train.py --name norms-rates-") == 6
    assert command(*words) == 0
    printed = capsys.readouterr().out
    assert "Each value has its own learning rate" in printed and "Not counted" not in printed
    kept = Study.from_json((tmp_path / "studies" / "norms" / "study.json").read_text())
    for name, row, _ in kept.runs():
        tried = [
            (run.status().final_acc, run.config().optim.lr)
            for run in (Run(path) for path in (tmp_path / "runs").glob("norms-rates-*"))
            if run.config().model.norm == row.settings["model.norm"]
        ]
        config = Run(tmp_path / "runs" / name).config()
        best = max(acc for acc, _ in tried)
        assert len(tried) == 3 and config.data.holdout == 0
        assert (best, config.optim.lr) in tried
    assert command("--study", "norms", "--resume") == 0
    assert table(capsys.readouterr().out) == table(printed)


def test_a_study_whose_runs_are_refused_says_so_and_ends(
    command, study_file, tmp_path, capsys, monkeypatch
):
    submit = Worker.submit

    def refuse(self, config, name, *args, **options):
        if name == "norms-2-group-s0":
            raise RunError("the disk is full")
        return submit(self, config, name, *args, **options)

    monkeypatch.setattr(Worker, "submit", refuse)
    assert command("--study", str(study_file)) == 1
    printed = capsys.readouterr()
    assert "train.py: the disk is full" in printed.err
    assert "norms-1-batch-s0: finished" in printed.out
    assert not (tmp_path / "runs" / "norms-2-group-s0").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--study", "unknown"],
        ["--study", "missing.json"],
        ["--study", "architectures", "--time", "3days"],
        ["--study", "architectures", "--seeds", "0"],
        ["--time", "3min"],
        ["--plan"],
        ["--fair-rates"],
    ],
)
def test_bad_arguments_are_one_line(command, words, capsys):
    assert command(*words) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
