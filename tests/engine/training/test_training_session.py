"""A session: preparation refuses what cannot work, and a run's files tell what happened."""

import json
import shutil
import threading
from pathlib import Path

import pytest
import torch

from engine import data, runs
from engine.config import with_fields
from engine.device import resolve
from engine.errors import CheckpointError, ConfigError, DataError
from engine.predict import load_network, measure
from engine.runs.checkpoint import load_weights, save_weights
from engine.runs.run import Run, State
from engine.training.prepare import new_model, prepare
from engine.training.records import EpochRecord, ProgressRecord, StepRecord

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")

SCALARS = ["Train/acc", "Train/loss", "Val/acc", "Val/loss", "lr"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny, train_run, one_thread):
    run = runs.create(tmp_path_factory.mktemp("trained"), "parent", tiny())
    assert train_run(run) is State.FINISHED
    return run


@pytest.fixture
def finished(trained, tmp_path):
    """A finished run that a test may change."""
    return Run(shutil.copytree(trained.path, tmp_path / "parent"))


def test_a_finished_run_tells_everything_in_its_files(finished):
    records, _ = finished.records()
    steps = [r for r in records if r["kind"] == "step"]
    epochs = [r for r in records if r["kind"] == "epoch"]
    assert [r["step"] for r in steps] == [1, 2, 3, 4, 5, 6]
    assert [r["epoch"] for r in epochs] == [1, 2]
    status = finished.status()
    assert (status.state, status.step, status.steps) == (State.FINISHED, 6, 6)
    assert (status.epoch, status.epochs, status.phase, status.eta_seconds) == (2, 2, "", None)
    assert status.final_acc == epochs[-1]["val_acc"]
    assert status.best_acc == max(r["val_acc"] for r in epochs)
    assert epochs[status.best_epoch - 1]["val_acc"] == status.best_acc
    assert (status.val_is_test, status.compute["device"]) == (False, "cpu")
    assert status.parameters == sum(
        t.numel()
        for k, t in load_weights(finished.path / "last.safetensors")[0].items()
        if not k.endswith(("running_mean", "running_var", "num_batches_tracked"))
    )
    info = finished.dataset_info()
    assert (info["name"], len(info["classes"]), len(info["mean"])) == ("shapes", 10, 3)
    assert finished.config().model.num_classes == 10
    for words in ("config {", "machine {", "epoch 2: train loss", "finished at step 6 of 6"):
        assert words in finished.log()


def test_with_held_out_images_the_test_set_is_measured_once_at_the_end(finished):
    epochs = [r for r in finished.records()[0] if r["kind"] == "epoch"]
    assert ["test_acc" in record for record in epochs] == [False, True]
    images = data.load("shapes", Path(finished.config().data.root))
    network = load_network(finished.path, resolve("cpu", "fp32"))
    expected = measure(network, images.test_images, images.test_labels, resolve("cpu", "fp32"))
    assert finished.status().test_acc == epochs[-1]["test_acc"] == expected.acc


def test_best_and_last_are_the_weights_they_say(finished, checkpoint_of, same):
    last, _ = load_weights(finished.path / "last.safetensors")
    best, header = load_weights(finished.path / "best.safetensors")
    assert same(last, checkpoint_of(finished.path)[0])
    status = finished.status()
    assert header["epoch"] == str(status.best_epoch)
    assert float(header["val_acc"]) == pytest.approx(status.best_acc, abs=1e-6)
    assert same(best, last) == (status.best_epoch == 2)


def test_tensorboard_shows_the_same_figures_by_epoch(finished, scalars):
    shown = scalars(finished)
    assert sorted(shown) == SCALARS
    epochs = [r for r in finished.records()[0] if r["kind"] == "epoch"]
    keys = ["train_acc", "train_loss", "val_acc", "val_loss", "lr"]
    for tag, key in zip(SCALARS, keys, strict=True):
        assert shown[tag] == [(r["epoch"], pytest.approx(r[key])) for r in epochs]


def test_without_held_out_images_the_test_set_validates_and_the_status_says_so(
    make_run, train_run, tiny
):
    config = tiny(**{"data.holdout": 0})
    prepared = prepare(config, None)
    assert prepared.splits.val_images is not None
    assert len(prepared.splits.val_images) == 200
    assert torch.equal(prepared.splits.val_images, prepared.info.test_images)
    run = make_run("b", config)
    train_run(run)
    assert run.status().val_is_test is True
    assert run.status().test_acc is None  # final_acc is


def test_held_out_images_are_no_training_images(tiny):
    splits = prepare(tiny(), None).splits
    assert (len(splits.train_images), len(splits.val_images)) == (48, 40)
    assert splits.val_is_test is False
    train = {image.numpy().tobytes() for image in splits.train_images}
    assert not train & {image.numpy().tobytes() for image in splits.val_images}


@pytest.mark.parametrize("command", ["pause", "stop"])
def test_a_request_in_control_json_ends_the_session_within_one_batch(make_run, train_run, command):
    run, seen = make_run(), []

    def request(record):
        seen.append(record)
        if isinstance(record, StepRecord) and record.step == 2:
            run.request(command)

    state = train_run(run, on_record=request)
    assert state is {"pause": State.PAUSED, "stop": State.STOPPED}[command] is run.status().state
    assert isinstance(seen[-1], StepRecord)
    assert (run.status().step, run.status().epoch) == (2, 1)
    assert run.log().rstrip().endswith(f"{state} at step 2 of 6")


def test_a_run_left_and_taken_up_again_ends_as_one_that_was_not(
    make_run, train_run, finished, checkpoint_of, same, lasting, scalars
):
    run, counts = make_run("cut"), [0]

    def ask_now_and_then():
        counts[0] += 1
        return "pause" if counts[0] % 6 == 0 else None

    states = [train_run(run, ask=ask_now_and_then)]
    while states[-1] is State.PAUSED and len(states) < 20:
        states.append(train_run(run, ask=ask_now_and_then))
    assert states[-1] is State.FINISHED
    assert len(states) > 2
    assert lasting(run.records()[0]) == lasting(finished.records()[0])
    assert same(checkpoint_of(run.path), checkpoint_of(finished.path))
    assert scalars(run) == scalars(finished), "TensorBoard has duplicates or gaps"
    kept = ["final_acc", "best_acc", "best_epoch", "step", "epoch", "parameters"]
    assert [getattr(run.status(), k) for k in kept] == [getattr(finished.status(), k) for k in kept]


def test_every_record_is_on_disk_before_a_consumer_sees_it(make_run, train_run):
    run = make_run()

    def look(record):
        if isinstance(record, (StepRecord, EpochRecord)):
            assert run.records()[0][-1] == record.to_dict()
        elif isinstance(record, ProgressRecord):
            assert (run.status().step, run.status().phase) == (record.step, record.phase)

    assert train_run(run, on_record=look) is State.FINISHED


def test_an_extension_starts_from_the_parents_last_weights_with_a_fresh_schedule(
    make_run, train_run, finished, same
):
    config = with_fields(finished.config(), {"pretrained": "parent", "epochs": 1})
    prepared = prepare(config, finished.path.parent)
    last, _ = load_weights(finished.path / "last.safetensors")
    assert same(dict(new_model(prepared).state_dict()), last)
    child = make_run("child", config)
    assert train_run(child) is State.FINISHED
    steps = [r for r in child.records()[0] if r["kind"] == "step"]
    assert (steps[0]["step"], steps[0]["lr"]) == (1, 0.1)
    assert child.config().pretrained == "parent"


def test_a_paused_extension_goes_on_without_its_parent(make_run, train_run, finished):
    config = with_fields(finished.config(), {"pretrained": str(finished.path)})
    child, counts = make_run("child", config), [0]

    def ask():
        counts[0] += 1
        return "pause" if counts[0] == 4 else None

    assert train_run(child, ask=ask) is State.PAUSED
    for path in finished.path.glob("*.safetensors"):
        path.unlink()
    assert train_run(child) is State.FINISHED


def test_weights_to_start_from_that_do_not_fit_are_refused_before_a_run(finished, tiny):
    root = finished.path.parent
    with pytest.raises(ConfigError, match=r"arch is resnet10, the network has vgg11"):
        prepare(tiny(**{"model.arch": "vgg11", "pretrained": "parent"}), root)
    with pytest.raises(ConfigError, match="pretrained: 'gone' is neither a run with weights"):
        prepare(tiny(pretrained="gone"), root)
    weights, header = load_weights(finished.path / "last.safetensors")
    weights["head.2.bias"][0] = float("nan")
    save_weights(finished.path / "last.safetensors", weights, header)
    with pytest.raises(CheckpointError, match=r"head.2.bias holds values that are not finite"):
        prepare(tiny(pretrained="parent"), root)


@pytest.mark.parametrize("name", ["x" * 300, "x" * 4000, "a/" * 500])
def test_a_name_too_long_to_be_a_file_is_no_weights_file(tiny, tmp_path, name):
    with pytest.raises(ConfigError, match="pretrained"):
        prepare(tiny(pretrained=name), tmp_path)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"model.width": 0.001}, ConfigError, "model.width"),
        ({"device": "cuda:7"}, ConfigError, "device"),
        ({"data.holdout": 500}, ConfigError, "data.holdout"),
        ({"data.dataset": "/nowhere/at/all"}, DataError, "no data set"),
    ],
    ids=str,
)
def test_preparation_refuses_what_cannot_work(tiny, tmp_path, changes, kind, words):
    with pytest.raises(kind, match=words):
        prepare(tiny(**changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_leaves_no_thread_behind(make_run, train_run):
    def break_down(record):
        raise RuntimeError("the page is gone")

    before = set(threading.enumerate())
    run = make_run()
    assert train_run(run, on_record=break_down) is State.FAILED
    assert run.status().message.startswith("RuntimeError: the page is gone")
    left = [t for t in threading.enumerate() if t not in before]
    assert left == []


def test_the_status_is_plain_json(finished):
    assert json.loads((finished.path / "status.json").read_text())["state"] == "finished"


def test_a_stop_asked_at_the_very_last_record_is_too_late(tmp_path, tiny, train_run):
    run = runs.create(tmp_path, "whole", tiny())

    def ask() -> str | None:
        done = [r for r in run.records()[0] if r["kind"] == "epoch"]
        return "stop" if len(done) == run.config().epochs else None

    assert train_run(run, ask=ask) is State.FINISHED
    assert run.status().state is State.FINISHED
