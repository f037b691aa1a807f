"""A network from disk: the one that was trained, in eval mode, with what it was fed."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from engine import runs
from engine.device import resolve
from engine.errors import CheckpointError, RunError
from engine.evaluate import Tally, evaluate
from engine.predict import Predictor, load_network, to_image, to_input, top_k
from engine.runs.checkpoint import load_weights, save_weights
from engine.runs.run import Run
from engine.training.prepare import prepare

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = resolve("cpu", "fp32")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny, train_run, one_thread) -> Run:
    run = runs.create(tmp_path_factory.mktemp("trained"), "a", tiny())
    train_run(run)
    return run


@pytest.fixture
def run(trained, tmp_path) -> Run:
    return Run(shutil.copytree(trained.path, tmp_path / "a"))


@pytest.fixture(scope="module")
def images(tiny):
    return prepare(tiny(), None).splits.val_images


def change(run: Run, **values) -> None:
    path = run.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_it_measures_what_the_training_measured_last(trained, tiny):
    network = load_network(trained.path, CPU)
    splits = prepare(tiny(), None).splits
    tally = Tally()
    for _ in evaluate(
        network.model, splits.val_images, splits.val_labels, network.mean, network.std, CPU, tally
    ):
        pass
    last = trained.records()[0][-1]
    assert (tally.loss, tally.acc) == (last["val_loss"], last["val_acc"])
    assert not network.model.training
    assert network.weights == trained.path / "last.safetensors"
    assert len(network.classes) == 10


def test_a_weights_file_in_a_run_is_loaded_by_its_path(run):
    weights, header = load_weights(run.path / "best.safetensors")
    weights["head.2.bias"] += 1
    save_weights(run.path / "best.safetensors", weights, header)
    best_network = load_network(run.path / "best.safetensors", CPU)
    last_network = load_network(run.path, CPU)
    assert torch.equal(best_network.model.get_parameter("head.2.bias"), weights["head.2.bias"])
    assert not torch.equal(last_network.model.get_parameter("head.2.bias"), weights["head.2.bias"])


def test_reduced_precision_is_loaded_channels_last(trained, images):
    compute = resolve("cpu", "bf16")
    predictor = Predictor(load_network(trained.path, compute), compute)
    kernel = predictor.network.model.get_parameter("stem.0.weight")
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    pictures = [to_image(image) for image in images[:4]]
    reduced, full = predictor.logits(pictures), Predictor.load(trained.path).logits(pictures)
    assert torch.allclose(reduced, full, atol=0.05)


def test_a_picture_is_named_as_training_would_see_it(trained, images):
    predictor = Predictor.load(trained.path)
    pictures = [to_image(image) for image in images[:3]]
    assert all(torch.equal(to_input(p), i) for p, i in zip(pictures, images, strict=False))
    named = predictor.top_k(pictures, k=3)
    probabilities = predictor.probabilities(pictures)
    assert probabilities.shape == (3, 10)
    assert probabilities.sum(1) == pytest.approx(1, abs=1e-5)
    for row, answers in zip(probabilities, named, strict=True):
        assert [p for _, p in answers] == sorted(row.tolist(), reverse=True)[:3]
        assert [predictor.classes.index(label) for label, _ in answers] == list(
            np.argsort(-row)[:3]
        )


def test_no_pictures_have_no_answers_and_few_classes_few(trained):
    predictor = Predictor.load(trained.path)
    assert predictor.top_k([]) == []
    assert len(predictor.top_k([Image.new("RGB", (100, 50))], k=99)[0]) == 10
    assert top_k(np.array([[0.2, 0.5, 0.3]]), ["a", "b", "c"], 2) == [[("b", 0.5), ("c", 0.3)]]


def test_it_is_a_copy_that_training_does_not_reach(trained, images):
    predictor = Predictor.load(trained.path)
    pictures = [to_image(images[0])]
    before = predictor.logits(pictures)
    other = load_network(trained.path, CPU).model
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert torch.equal(predictor.logits(pictures), before)


def test_a_run_that_was_not_trained_yet_has_no_weights(make_run):
    run = make_run("new")
    with pytest.raises(CheckpointError, match="new: this run has no weights yet"):
        load_network(run.path, CPU)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="there is no run 'gone'"):
        load_network(tmp_path / "gone", CPU)


def test_weights_of_another_network_are_refused_by_item(run):
    weights, header = load_weights(run.path / "last.safetensors")
    save_weights(run.path / "last.safetensors", weights, header | {"arch": "vgg11"})
    with pytest.raises(CheckpointError, match="arch is vgg11, the network has resnet10"):
        load_network(run.path, CPU)


@pytest.mark.parametrize(
    ("info", "words"),
    [
        (None, "no weights yet"),
        ({}, "config.json is damaged"),
        (
            {"name": "pets", "classes": ["a", "b"], "mean": [0, 0, 0], "std": [1, 1, 1]},
            "names 2 classes",
        ),
    ],
)
def test_a_run_that_does_not_tell_its_classes_is_refused(run, info, words):
    change(run, dataset_info=info)
    with pytest.raises((CheckpointError, RunError), match=words):
        load_network(run.path, CPU)
