"""Exported networks answer as the app does, in every format, for every kind of network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import train
from engine import runs
from engine.config import ACTIVATIONS, NORMS, RunConfig, with_fields
from engine.device import resolve
from engine.errors import RunError
from engine.export import Classifier, export, is_outdated
from engine.files import sha256
from engine.models import build_model, whitening
from engine.predict import Network, Predictor, decode_image
from engine.runs import temperature
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import State

pytestmark = pytest.mark.usefixtures("one_thread")
CLASSES = tuple("abcdefghij")
ARCHITECTURES = {
    "resnet10": 0.125, "resnet50": 0.125, "resnext10": 0.125, "wideresnet14": 0.125,
    "vgg11": 0.125, "densenet121": 0.125, "convmixer256d8": 0.125, "speedrun": 0.125,
}  # fmt: skip
MODELS = [{"arch": arch, "width": width} for arch, width in ARCHITECTURES.items()]
KINDS = [{"activation": name} for name in ACTIVATIONS] + [{"norm": name} for name in NORMS]
MODELS += [{"arch": "resnet10", "width": 0.125, "whitening": True}]
MODELS += [{"arch": "resnet10", "width": 0.125, **kind} for kind in KINDS]


@pytest.fixture
def trained(tmp_path):
    """A finished run of an untrained network, whose statistics are those of noise."""

    def make(others=None, **model):
        changes = {f"model.{key}": value for key, value in model.items()} | (others or {})
        config = with_fields(RunConfig(), {"model.num_classes": len(CLASSES), **changes})
        run = runs.create(tmp_path / "runs", "net", config)
        network = build_model(**config.model.arguments, seed=3)
        noise = torch.randn(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        if layer := whitening.find(network):
            layer.fit(noise)
        with torch.no_grad():
            network.train()(noise)
        info = {"name": "n", "classes": CLASSES, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4]}
        with run.hold("a test") as writer:
            writer.save_config(config, info)
            writer.update(state=State.FINISHED, final_acc=0.5, val_is_test=True)
        store = CheckpointStore(run.path, describe_model(config.model))
        store.save(1, network.state_dict(), {})
        return run

    return make


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (5, 3, 32, 32), generator=generator).to(torch.uint8)


def calibrate(run, value: float = 0.25) -> None:
    weights = run.path / "last.safetensors"
    temperature.write(weights, sha256(weights), value, {})


def onnx_answers(folder, images):
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    return session.run(["probabilities"], {"images": images.numpy()})[0]


def pt2_answers(folder, images):
    return torch.export.load(folder / "model.pt2").module()(images).detach().numpy()


@pytest.mark.slow  # some seconds for each
@pytest.mark.parametrize("model", MODELS, ids=lambda m: "-".join(map(str, m.values())))
def test_every_network_answers_alike(trained, images, model):
    run = trained(**model)
    expected = Predictor.load(run.path).probabilities(images)
    for kind, answers in (("onnx", onnx_answers), ("pt2", pt2_answers)):
        folder = export(run.path, kind)
        for count in (1, 5):  # N is free
            found = answers(folder, images[:count])
            np.testing.assert_allclose(found, expected[:count], atol=2e-4, err_msg=kind)


def test_normalization_and_softmax_are_part_of_it(trained, images):
    run = trained(arch="resnet10", width=0.0625)
    predictor = Predictor.load(run.path, resolve("cpu", "fp32"))
    network: Network = predictor.network
    found = Classifier(network)(images)
    torch.testing.assert_close(found.sum(1), torch.ones(5))
    np.testing.assert_allclose(found.detach(), predictor.probabilities(images), atol=1e-5)


def test_the_probabilities_are_calibrated_as_in_the_app_and_the_file_says_so(trained, images):
    run = trained(arch="resnet10", width=0.0625)
    calibrate(run)
    predictor = Predictor.load(run.path, resolve("cpu", "fp32"))
    expected = predictor.probabilities(images, calibrated=True)
    found = Classifier(predictor.network)(images).detach()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    folder = export(run.path, "onnx")
    np.testing.assert_allclose(onnx_answers(folder, images), expected, atol=2e-4)
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    assert session.get_modelmeta().custom_metadata_map["temperature"] == "0.25"


def test_an_export_is_outdated_once_the_weights_or_their_temperature_change(trained):
    run = trained(arch="resnet10", width=0.0625)
    weights = run.path / "last.safetensors"
    assert not is_outdated(weights, "safetensors"), "never exported"
    for change in (calibrate, lambda run: weights.touch()):
        export(run.path, "safetensors")
        assert not is_outdated(weights, "safetensors")
        change(run)
        assert is_outdated(weights, "safetensors")


@pytest.mark.parametrize(
    ("kind", "fit"),
    [("onnx", "pad"), ("safetensors", "crop"), pytest.param("pt2", "pad", marks=pytest.mark.slow)],
)
def test_the_program_beside_it_prints_the_top_classes(trained, tmp_path, kind, fit):
    run = trained({"data.fit": fit}, arch="resnet10", width=0.0625)
    calibrate(run)
    folder = export(run.path, kind)
    picture = tmp_path / "picture.png"
    drawn = Image.linear_gradient("L").resize((64, 42)).convert("RGBA")
    drawn.putalpha(Image.linear_gradient("L").rotate(90).resize((64, 42)))
    drawn.save(picture)
    repository = Path(__file__).parents[2]
    command = [sys.executable, str(folder / "use.py"), str(picture)]
    told = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert told.returncode == 0, told.stderr
    decoded = [decode_image(picture.read_bytes())]
    (expected,) = Predictor.load(run.path).top_k(decoded, calibrated=True)
    assert expected != Predictor.load(run.path).top_k(decoded)[0]
    lines = [line.split() for line in told.stdout.splitlines()]
    assert [line[0] for line in lines] == [label for label, _ in expected]
    shares = [float(line[1]) for line in lines]
    assert shares == pytest.approx([100 * value for _, value in expected], abs=0.1)
    assert len((folder / "use.py").read_text().splitlines()) < 40


def test_the_files_say_what_they_hold(trained):
    run = trained(arch="resnet10", width=0.0625)
    with safe_open(export(run.path, "safetensors") / "model.safetensors", "pt") as file:
        about = file.metadata()
    assert json.loads(about["classes"]) == list(CLASSES)
    assert json.loads(about["architecture"])["arch"] == "resnet10"
    assert json.loads(about["std"]) == [0.2, 0.3, 0.4]
    assert about["accuracy"] == "0.5000 on test images"
    assert "temperature" not in about


def test_weights_that_were_not_validated_have_no_accuracy(trained):
    run = trained(arch="resnet10", width=0.0625)
    with run.hold("a test") as writer:
        writer.update(state=State.PAUSED)
    with safe_open(export(run.path, "safetensors") / "model.safetensors", "pt") as file:
        assert "accuracy" not in file.metadata()


def test_a_second_export_replaces_the_first_and_leaves_nothing_else(trained):
    run = trained(arch="resnet10", width=0.0625)
    folder = export(run.path, "safetensors")
    (folder / "old.txt").touch()
    assert export(run.path, "safetensors") == folder
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "use.py"]
    assert [path.name for path in folder.parent.iterdir()] == ["safetensors"]


def test_a_missing_package_is_named_with_what_to_do(trained, monkeypatch):
    run = trained(arch="resnet10", width=0.0625)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(RunError, match=r"requirements-export\.txt"):
        export(run.path, "onnx")
    assert not list((run.path / "export").iterdir())


def test_from_the_terminal(trained, capsys):
    run = trained(arch="resnet10", width=0.0625)
    words = ["--export", "net", "--run-root", str(run.path.parent)]
    assert train.main([*words, "--to", "safetensors"]) == 0
    assert "use.py" in capsys.readouterr().out
    assert (run.path / "export" / "safetensors" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--export", "net"], "choose the format"),
        (["--export", "gone", "--to", "pt2"], "no run or weights file 'gone'"),
        (["--to", "pt2"], "give that too"),
        (["--export", "net", "--to", "pt2", "--epochs", "3"], "no effect with --export"),
    ],
)
def test_mistakes_are_told_in_one_line(trained, capsys, words, expected):
    run = trained(arch="resnet10", width=0.0625)
    assert train.main([*words, "--run-root", str(run.path.parent)]) == 2
    told = capsys.readouterr().err
    assert expected in told and told.count("\n") == 1
