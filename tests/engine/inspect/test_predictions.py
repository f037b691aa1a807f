"""Predictions: those of the run's validation, cached by contents, in a bounded folder."""

import dataclasses

import pytest
import torch

from engine import data, runs
from engine.config import with_fields
from engine.device import Compute, resolve
from engine.evaluate import Tally, evaluate
from engine.files import sha256
from engine.inspect import predictions
from engine.inspect.predictions import compute_like, predict
from engine.models import build_model
from engine.predict import load_network, own_splits
from engine.runs import temperature
from engine.runs.checkpoint import CheckpointStore, describe_model

CPU = Compute(torch.device("cpu"), "fp32")


def exhaust(steps):
    shares = []
    while True:
        try:
            shares.append(next(steps))
        except StopIteration as end:
            return shares, end.value


@pytest.fixture(scope="module", params=["fp32", "bf16"])
def trained(request, tmp_path_factory, tiny, train_run):
    config = with_fields(tiny(), {"precision": request.param, "epochs": 1})
    run = runs.create(tmp_path_factory.mktemp("runs"), "net", config)
    train_run(run)
    return run


@pytest.fixture(scope="module")
def splits(trained, shapes_root):
    network = load_network(trained.path, CPU)
    return own_splits(network, data.load("shapes", shapes_root))


def test_the_accuracy_is_that_of_the_run(trained, splits, tmp_path):
    shares, found = exhaust(predict(trained.path, splits.val_images, tmp_path))
    right = (found.labels == splits.val_labels).float().mean().item()
    assert right == pytest.approx(trained.epochs()[-1]["val_acc"], abs=1e-6)
    assert (found.precision, found.as_validated) == (trained.config().precision, True)
    assert shares[-1] == 1.0


def test_batches_of_another_size_than_in_validation_change_no_answer(
    make_run, tiny, tmp_path, monkeypatch
):
    """Layers of 128 and more channels, whose kernels depend on the size of the batch."""
    monkeypatch.setattr(predictions, "WAIT_RATIO", 0.0)
    compute = resolve()
    changes = {"model.width": 0.5, "model.num_classes": 10, "precision": compute.precision}
    config = with_fields(tiny(), changes)
    run = make_run("wide", config)
    images = torch.randint(256, (300, 3, 32, 32), dtype=torch.uint8)
    info = {"name": "noise", "classes": list("abcdefghij"), "mean": [0.5] * 3, "std": [0.25] * 3}
    with run.hold("a test") as writer:
        writer.save_config(config, info)
        writer.update(compute=compute.describe())
    store = CheckpointStore(run.path, describe_model(config.model))
    store.save(1, build_model(**config.model.arguments).state_dict(), {})
    network, tally = load_network(run.path, compute, "training"), Tally()
    for _ in evaluate(
        network.model, images, images[:, 0, 0, 0] % 10, network.mean, network.std, compute, tally
    ):
        pass
    for busy in (False, True):
        folder = tmp_path / f"cache {busy}"
        _, found = exhaust(predict(run.path, images, folder, busy=lambda busy=busy: busy))
        assert found.as_validated
        assert found.labels.equal(torch.cat(tally.predicted))


def test_features_are_the_input_of_the_last_layer(trained, splits, tmp_path):
    _, found = exhaust(predict(trained.path, splits.val_images, tmp_path, compute=CPU))
    classifier = load_network(trained.path, CPU).model.get_classifier()
    with torch.no_grad():
        torch.testing.assert_close(classifier(found.features), found.logits)


def test_the_second_time_nothing_is_computed(trained, splits, tmp_path, monkeypatch):
    first = exhaust(predict(trained.path, splits.val_images, tmp_path))[1]
    monkeypatch.setattr(predictions, "load_network", None)
    shares, second = exhaust(predict(trained.path, splits.val_images, tmp_path))
    assert shares == [1.0]
    assert torch.equal(first.logits, second.logits)
    with pytest.raises(TypeError):  # other images
        exhaust(predict(trained.path, splits.val_images[1:], tmp_path))


def test_a_damaged_cache_is_computed_again(trained, splits, tmp_path):
    first = exhaust(predict(trained.path, splits.val_images, tmp_path))[1]
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:50])
    second = exhaust(predict(trained.path, splits.val_images, tmp_path))[1]
    assert torch.equal(first.logits, second.logits)


def test_the_cache_is_bounded(trained, splits, tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "MAX_CACHE_BYTES", 1)
    for count in (2, 3):
        exhaust(predict(trained.path, splits.val_images[:count], tmp_path))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_costs_the_cache_alone(trained, splits, tmp_path):
    (tmp_path / "file").touch()
    found = exhaust(predict(trained.path, splits.val_images, tmp_path / "file"))[1]
    assert len(found.logits) == len(splits.val_images)


def test_it_takes_turns_with_a_training(trained, splits, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(predictions.time, "sleep", waits.append)
    monkeypatch.setattr(predictions, "TURN_BATCH", 20)
    clock = iter(range(100))
    monkeypatch.setattr(predictions.time, "perf_counter", lambda: next(clock))
    exhaust(predict(trained.path, splits.val_images, tmp_path, busy=lambda: True))
    assert waits == [16.0, 16.0]


def test_on_another_processor_the_precision_is_that_of_this_machine(trained, monkeypatch):
    compute, layers = compute_like(trained)
    assert (compute.precision, layers) == (trained.config().precision, "training")
    status = trained.status()
    other = dataclasses.replace(status, compute={**status.compute, "device_name": "another"})
    monkeypatch.setattr(trained, "status", lambda: other)
    assert compute_like(trained)[1] == "inference"


def test_a_temperature_holds_for_the_weights_it_names(trained):
    weights = trained.path / "last.safetensors"
    temperature.write(weights, sha256(weights), 1.5, {})
    assert temperature.read(weights) == 1.5
    temperature.write(weights, "0" * 64, 1.5, {})
    assert temperature.read(weights) is None
