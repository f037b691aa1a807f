"""The shipped network: what the script writes, and the one that is in the repository."""

import json
import zipfile

import pytest
import torch
from PIL import Image

from engine import runs
from engine.data import shapes
from engine.data.progress import Watch
from engine.device import Compute, resolve
from engine.predict import Predictor, decode_image, load_network, measure, to_input
from engine.runs.checkpoint import load_weights
from engine.runs.run import Run, State
from scripts import export_pretrained as script

SHIPPED = runs.list_runs(script.REPOSITORY / "checkpoints" / "pretrained")
FILES = {
    *("README.md", "config.json", "last.safetensors", "last.temperature.json", "status.json"),
}
# Accuracy with test-time augmentation
LEAST = {
    "convmixer256d8": 0.885,
    "resnet18-half": 0.9,
    "speedrun-wide": 0.915,
    "vgg11-shapes": 0.97,
}


@pytest.fixture
def trained(make_run, tiny, train_run):
    run = make_run("a", tiny(**{"optim.ema": 0.9}))
    assert train_run(run) is State.FINISHED
    return run


def test_it_writes_a_folder_that_classifies(trained, tmp_path, capsys):
    words = ["a", "--run-root", str(trained.path.parent), "--into", str(tmp_path / "out")]
    assert script.main([*words, "--name", "b"]) == 0
    shipped = Run(tmp_path / "out" / "b")
    assert {path.name for path in shipped.path.iterdir()} == {
        *FILES,
        "metrics.jsonl",
        "predictions.u8",
    }
    weights, _ = load_weights(shipped.path / "last.safetensors")
    original, _ = load_weights(trained.path / "last.safetensors")
    assert weights.keys() == original.keys()
    for key, tensor in weights.items():
        assert tensor.dtype == (torch.float16 if original[key].is_floating_point() else torch.int64)
    assert shipped.config().model == trained.config().model
    assert shipped.config().data.root == "data"
    compute = resolve()
    network = load_network(shipped.path, compute)
    images = script.data.load("shapes", trained.path.parent / trained.config().data.root)
    tally = measure(network, images.test_images, images.test_labels, compute)
    status = shipped.status()
    assert status.final_acc == tally.acc
    assert status.state is State.FINISHED
    card = capsys.readouterr().out
    assert f"{100 * tally.acc:.2f} %" in card
    assert [r["epoch"] for r in shipped.records()[0]] == list(range(1, status.epochs + 1))
    assert f"temperature | {Predictor.load(shipped.path).temperature:.3f}" in card
    predicted = Predictor(network, compute).probabilities(images.test_images).argmax(1)
    first = images.test_labels.numpy() == 0
    assert f"| {images.classes[0]} | {100 * (predicted[first] == 0).mean():.1f} |" in card
    assert f"{100 * status.tta_acc:.2f} %" in card
    assert "    python train.py --name a --arch resnet10" in card
    assert str(tmp_path) not in card + (shipped.path / "config.json").read_text()


def test_the_card_names_every_run_of_a_chain(trained, make_run, tiny, train_run, tmp_path, capsys):
    later = make_run("later", tiny(pretrained="a"))
    assert train_run(later) is State.FINISHED
    words = ["later", "--run-root", str(trained.path.parent), "--into", str(tmp_path / "out")]
    assert script.main(words) == 0
    commands = [
        line for line in capsys.readouterr().out.splitlines() if "python train.py --na" in line
    ]
    assert ["--name a" in commands[0], "--name later" in commands[1]] == [True, True]
    assert "--pretrained a" in commands[1] and len(commands) == 2


def test_the_chain_may_begin_with_a_shipped_network(make_run, tiny):
    run = make_run("later", tiny(pretrained="pretrained/vgg11-shapes"))
    assert [each.name for each in script.history(run)] == ["vgg11-shapes", "later"]


def test_a_parent_that_is_gone_is_told_before_anything_is_written(trained, tmp_path, capsys):
    content = json.loads((trained.path / "config.json").read_text())
    (trained.path / "config.json").write_text(json.dumps(content | {"pretrained": "gone"}))
    words = ["a", "--run-root", str(trained.path.parent), "--into", str(tmp_path / "out")]
    assert script.main(words) == 2
    assert "'gone' is neither a run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_not_finished_is_refused(make_run, tmp_path, capsys):
    run = make_run("a")
    words = ["a", "--run-root", str(run.path.parent), "--into", str(tmp_path / "out")]
    assert script.main(words) == 2
    assert "ship a finished one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_networks_are_shipped():
    assert {run.name for run in SHIPPED} == LEAST.keys()
    sizes = [path.stat().st_size for run in SHIPPED for path in run.path.iterdir()]
    assert sum(sizes) < 30e6


@pytest.mark.parametrize("run", SHIPPED, ids=lambda run: run.name)
def test_the_shipped_network_is_small_documented_and_answers(run):
    assert {path.name for path in run.path.iterdir()} >= FILES
    assert (run.path / "last.safetensors").stat().st_size < 10e6
    status, card = run.status(), (run.path / "README.md").read_text(encoding="utf-8")
    assert status.tta_acc >= LEAST[run.name]
    assert f"temperature | {Predictor.load(run.path).temperature:.3f}" in card
    for figure in (status.final_acc, status.tta_acc):
        assert f"{100 * figure:.2f} %" in card
    config = json.loads((run.path / "config.json").read_text())
    assert "/" not in config["data"]["dataset"] + config["data"]["root"]
    predictor = Predictor.load(run.path)
    assert len(predictor.classes) == 10
    probabilities = predictor.probabilities([Image.new("RGB", (40, 30), "blue")])
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("run", SHIPPED, ids=lambda run: run.name)
def test_the_shipped_network_is_as_accurate_as_its_card_says(run, request):
    """On 1,000 test images: within four standard errors."""
    compute = Compute(torch.device("cpu"), "fp32")
    network = load_network(run.path, compute)
    images, labels = images_of(network, request)
    acc = measure(network, images, labels, compute).acc
    expected = run.status().final_acc
    error = (expected * (1 - expected) / len(labels)) ** 0.5
    assert acc == pytest.approx(expected, abs=4 * error)


def images_of(network, request):
    """1,000 test images, and their labels, of the data set that the network was trained on."""
    if network.config.data.dataset == "shapes":
        images = shapes.make(Watch(), train=10, test=1000)
        return images.test_images, images.test_labels
    with zipfile.ZipFile(request.getfixturevalue("real_zip")) as archive:
        entries = [f"test/{name}/{n:04}.jpg" for name in network.classes for n in range(100)]
        images = [to_input(decode_image(archive.read(entry))) for entry in entries]
    return torch.stack(images), torch.arange(10).repeat_interleave(100)
