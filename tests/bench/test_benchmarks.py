"""Every benchmark runs at a tiny size and writes the documented JSON. Speed is not checked."""

import io
import json
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from PIL import Image

from bench import (
    accuracy,
    augment,
    finetune,
    gains,
    inference,
    inspection,
    report,
    study,
    throughput,
    time_left,
    ui,
)
from engine import turns
from engine.runs.run import Run

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]
TINY = ["--repeats", "2"]
RUNS = {
    "throughput": (
        throughput,
        [
            *("--arch", "speedrun", "--batch-size", "4", "--activations", "elu"),
            *("--norms", "group", "--precision", "fp32"),
        ],
        [
            *("fp32 matrix product", "fp32 3×3 convolution"),
            *("speedrun, in a thread", "speedrun elu, in a thread"),
            *("speedrun group norm, in a thread", "speedrun"),
            *("speedrun elu", "speedrun group norm"),
        ],
    ),
    "profile": (
        throughput,
        ["--arch", "speedrun", "--batch-size", "4", "--profile"],
        None,
    ),
    "without": (
        throughput,
        [
            *("--arch", "speedrun", "--batch-size", "4", "--main-only"),
            *("--without", "norm_act", "--without", "im2col"),
        ],
        None,
    ),
    "gains": (
        gains,
        ["--batch-size", "2", "--only", "in_place", "--precision", "fp32"],
        ["in_place: resnet18", "in_place: vgg16"],
    ),
    "augment": (
        augment,
        ["--images", "20", "--batch-size", "8", "--arch", "speedrun"],
        ["crop, flip, normalize, erasing", "augmentation in a speedrun step"],
    ),
    "inspection": (
        inspection,
        ["--images", "6", "--arch", "speedrun", "--seconds", "0.2"],
        ["speedrun, 6 predictions", "speedrun, training beside"],
    ),
    "inference": (
        inference,
        ["--images", "6", "--arch", "speedrun"],
        None,
    ),
    "time left": (
        time_left,
        [
            *("--only", "minute", "--loads", "busy at first"),
            *("--changes", '{"data.limit": 640, "batch_size": 32}'),
        ],
        [f"minute, busy at first: {name}" for name in ("after a tenth", "largest", "smallest")],
    ),
    "lists": (
        ui,
        ["--only", "lists", "--runs", "4"],
        ["list of 4 runs", "4 of them overlaid over 250 epochs"],
    ),
}


FIELDS = {"name", "value", "baseline", "ratio", "unit", "n", "spread"}
SKILLED = {"skilled", "vs_skilled", "vs_skilled_spread", "share_of_limit"}


def check(rows, told):
    for row in rows:
        assert set(row) in (FIELDS, FIELDS | SKILLED)
        if "skilled" in row:
            low, high = row["vs_skilled_spread"]
            assert 0 < low <= row["vs_skilled"] <= high
            assert row["skilled"] > 0 and row["share_of_limit"] > 0
        low, high = row["spread"]
        assert low <= (row["value"] if row["ratio"] is None else row["ratio"]) <= high
        assert (row["baseline"] is None) == (row["ratio"] is None)
        assert f"\n{row['name']}: " in told


@pytest.mark.parametrize("name", RUNS)
def test_it_runs_and_writes_its_rows(name, tmp_path, capsys, request):
    module, words, names = RUNS[name]
    if module is ui:
        request.getfixturevalue("chromium_path")
    file = tmp_path / "out.json"
    # In a thread of its own: the tests' browser keeps an event loop in this one, and Playwright
    # starts no second one beside it.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(module.main, [*words, *TINY, "--json", str(file)]).result() == 0
    content, told = json.loads(file.read_text()), capsys.readouterr().out
    assert set(content) == {"machine", "rows"}
    assert content["machine"]["torch"]
    check(content["rows"], told)
    if names:
        assert [row["name"] for row in content["rows"]] == names


def test_the_skilled_step_is_the_plain_one_but_for_rounding():
    weights = []
    for precision in (throughput.PLAIN, throughput.SKILLED):
        step = throughput.Step(throughput.config_of(4, "resnet10"), precision)
        before = [p.detach().clone() for p in step.network.parameters()]
        step()
        after = step.network.parameters()
        moved = zip(after, before, strict=True)
        weights.append(torch.cat([(a - b).detach().flatten() for a, b in moved]))
    # 0.987 in bf16 on an AMD Zen 4, for batches of 4 to 32
    assert torch.nn.functional.cosine_similarity(*weights, dim=0) > 0.97
    assert 0.98 < weights[0].norm() / weights[1].norm() < 1.02


def test_a_replacement_is_left_out_of_the_step(monkeypatch):
    for library in (torch.backends.mkldnn, torch.backends.mkl):
        monkeypatch.setattr(library, "is_available", lambda: True)
    for without, expected in (((), "InPlaceReLU"), (("in_place",), "ReLU")):
        step = throughput.Step(throughput.config_of(2, "resnet10"), "fp32", without)
        names = {type(module).__name__ for module in step.network.modules()}
        assert names & {"InPlaceReLU", "ReLU"} == {expected}


def test_a_preset_is_trained_from_every_seed(shapes_root, tmp_path, capsys):
    words = ["shapes", "--preset", "minute", "--seeds", "3", "4", "--data-root", str(shapes_root)]
    words += ["--json", str(tmp_path / "out.json"), "--run-root", str(tmp_path / "runs")]
    flags = "--limit 40 --holdout 20 -b 20 -e 1 --arch resnet10 --width 0.0625"
    assert accuracy.main([*words, *flags.split()]) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    check(rows, capsys.readouterr().out)
    ended = [Run(tmp_path / "runs" / f"minute-{seed}") for seed in (3, 4)]
    assert [run.config().seed for run in ended] == [3, 4]
    means = [sum(getattr(run.status(), key) for run in ended) / 2 for key in ("tta_acc", "seconds")]
    assert rows[1]["value"] == pytest.approx(100 * means[0])
    assert rows[2]["value"] == pytest.approx(means[1])
    assert 0 < rows[3]["value"] < rows[2]["value"]
    assert all(row["n"] == 2 for row in rows)


def test_a_study_is_timed_in_turns_and_against_its_plan(shapes_root, tmp_path, capsys):
    file = tmp_path / "out.json"
    words = ["--data-root", str(shapes_root), "--json", str(file), "--repeats", "1"]
    words += ["--limit", "40", "--epochs", "2", "--width", "0.0625", "--seconds", "3"]
    assert study.main(words) == 0
    rows = json.loads(file.read_text())["rows"]
    check(rows, capsys.readouterr().out)
    assert len(rows) == 5
    assert 0 < rows[3]["value"] < rows[0]["baseline"] / 2
    assert turns.TURN_S > 0, "the app's turns are as before"


def test_fine_tuning_is_compared_with_scratch_and_nothing_is_trained_twice(
    tmp_path, monkeypatch, capsys
):
    small = {"model.arch": "resnet10", "model.width": 0.0625, "epochs": 1, "batch_size": 4}
    monkeypatch.setattr(finetune, "BASE", small)
    monkeypatch.setattr(finetune, "CANDIDATES", {"preset": small, finetune.BEST_SCRATCH: small})
    for name in ("IMAGES", "SHOWN", "TEST"):
        monkeypatch.setattr(finetune, name, 2)
    path = tmp_path / "four.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "test"):
            for number, label in enumerate(("cat", "dog", "frog", "ship")):
                for i in range(4):
                    picture = io.BytesIO()
                    Image.new("RGB", (32, 32), (50 * number, i, 0)).save(picture, "PNG")
                    archive.writestr(f"{split}/{label}/{i}.png", picture.getvalue())
    words = [str(path), "--work", str(tmp_path / "work"), "--data-root", str(tmp_path)]
    words += ["--pairs", "cat-dog", "--seeds", "0", "1", "--json", str(tmp_path / "out.json")]
    assert finetune.main(words) == 0
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    check(rows, capsys.readouterr().out)
    tuned, scratch, difference = (row["value"] for row in rows[1:4])
    assert difference == pytest.approx(tuned - scratch)
    runs = {path: path.stat().st_mtime_ns for path in tmp_path.glob("work/runs/*/config.json")}
    assert len(runs) == 5 and sum("base" in str(path) for path in runs) == 1
    assert Run(tmp_path / "work/runs/cat-dog-preset-0").dataset_info()["classes"] == ["cat", "dog"]
    assert finetune.main([*words, "--choose"]) == 0
    assert {path: path.stat().st_mtime_ns for path in runs} == runs


def test_a_training_that_fails_is_no_figure(shapes_root, tmp_path):
    words = ["shapes", "--seeds", "0", "--data-root", str(shapes_root), "--holdout", "999999"]
    with pytest.raises(SystemExit, match="seed 0 failed"):
        accuracy.main(words)


def test_a_comparison_is_of_pairs_and_tells_their_range():
    row = report.compare("x", "images/s", [10, 30, 20], [5, 10, 20])
    assert (row.value, row.baseline, row.ratio) == (20, 10, 2)
    assert row.spread == (1, 3)
    assert row.n == 3


def test_candidates_take_turns_and_first_calls_do_not_count():
    calls = []
    candidates = [lambda: calls.append("a"), lambda: calls.append("b")]
    first, second = report.rates(candidates, 10, repeats=2)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    assert len(first) == len(second) == 2
    assert min(first + second) > 0
