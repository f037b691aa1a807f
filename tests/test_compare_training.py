"""scripts/compare_training.py: its runs are accepted, and every difference is reported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import train
from engine.config import SETTINGS, RunConfig
from engine.models import ARCHITECTURES
from engine.settings import get_field
from scripts.compare_training import cases, describe, differences, results

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")

# Flags that the runs leave alone: places, what takes minutes, what images of 32×32 do not need.
LEFT_OUT = ("data.root", "data.url", "device", "compile", "data.fit")


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny_args) -> Path:
    """A run's folder, as the script's child process leaves it."""
    root = tmp_path_factory.mktemp("runs")
    assert train.main(tiny_args(root, "--name", "a")) == 0
    describe(root / "a", {"run": RunConfig()})
    return root / "a"


@pytest.fixture
def copy(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "a"))


def test_the_runs_vary_every_setting_and_train_every_family(command_config):
    configs = [command_config(words) for words in cases([]).values()]
    values = {path: {get_field(config, path) for config in configs} for path in SETTINGS}
    assert values["precision"] == {"fp32", "bf16"}
    families = {ARCHITECTURES[arch].family for arch in values["model.arch"]}
    assert families == {architecture.family for architecture in ARCHITECTURES.values()}
    for path in SETTINGS.keys() - {"model.arch", "precision", *LEFT_OUT}:
        declared = SETTINGS[path]
        if declared.flag is None:  # not a choice of the user's
            continue
        if declared.choices:
            assert values[path] >= set(declared.choices), path
        elif declared.kind is bool:
            assert values[path] == {False, True}, path
        else:
            assert values[path] != {declared.default}, path


def test_a_run_equals_itself_whatever_its_speed(finished, copy):
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    slower = [row | {key: 9.0 for key in ("seconds", "images_per_s") if key in row} for row in rows]
    (copy / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in slower))
    assert differences(results(finished), results(copy)) == []


def test_one_changed_weight_is_reported(finished, copy):
    weights = load_file(copy / "last.safetensors")
    name, tensor = next((k, t) for k, t in weights.items() if t.ndim == 4)
    tensor.view(-1)[0] += 0.5
    save_file(weights, copy / "last.safetensors", metadata=None)
    lines = differences(results(finished), results(copy))
    assert f"last.safetensors: {name}: 1 of {tensor.numel()} values differ, by up to 0.5" in lines
    assert any(line.startswith("last.safetensors: metadata") for line in lines)
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("metrics.jsonl", '"step": 3', '"step": 4'),
        ("config.json", '"circle"', '"disc"'),
        ("texts.json", '"run setting batch_size": 128', '"run setting batch_size": 129'),
        ("texts.json", "python train.py", "python3 train.py"),
    ],
)
def test_one_changed_value_is_reported(finished, copy, file, old, new):
    content = (copy / file).read_text()
    assert old in content
    (copy / file).write_text(content.replace(old, new))
    assert differences(results(finished), results(copy))


def test_a_setting_that_the_older_tree_lacks_is_no_difference_but_a_lost_one_is(finished, copy):
    texts = json.loads((copy / "texts.json").read_text())
    (copy / "texts.json").write_text(json.dumps({**texts, "run setting data.new": 1}))
    assert differences(results(finished), results(copy)) == []
    assert len(differences(results(copy), results(finished))) == 1


def test_a_failed_run_is_reported_even_if_both_failed(finished, copy):
    (copy / "texts.json").unlink()
    assert differences(results(finished), results(copy)) == ["failed after"]
    assert differences(results(copy), results(finished)) == ["failed before"]
    assert differences(results(copy), results(copy)) == ["failed in both"]
