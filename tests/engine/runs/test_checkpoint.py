"""Weights and checkpoints on disk. Damage, crashes and full disks are in tests/faults."""

import json

import pytest
import torch

from engine.config import ModelConfig
from engine.errors import CheckpointError
from engine.models import build_model
from engine.runs.checkpoint import (
    CheckpointStore,
    apply_weights,
    describe_model,
    has_checkpoint,
    load_weights,
    save_weights,
)

CHOICE = ModelConfig("resnet10", width=0.0625, num_classes=10)
HEADER = describe_model(CHOICE)


def network(seed: int = 0):
    return build_model(CHOICE.arch, CHOICE.num_classes, width=CHOICE.width, seed=seed)


def weights(value: float) -> dict[str, torch.Tensor]:
    return {"a": torch.full((3,), value), "count": torch.tensor(int(value))}


def state(step: int) -> dict:
    return {"step": step, "optimizer": {"momentum": torch.full((3,), float(step))}, "best": None}


@pytest.fixture
def store(tmp_path) -> CheckpointStore:
    return CheckpointStore(tmp_path, HEADER)


def test_a_store_without_checkpoints_has_none(store, tmp_path):
    assert store.load_newest() is None
    assert not has_checkpoint(tmp_path)
    (tmp_path / "resume").mkdir()
    assert not has_checkpoint(tmp_path)


def test_the_newest_checkpoint_comes_back_to_the_bit(store, tmp_path, same):
    for step in (9, 10, 100):  # by number, not by name
        store.save(step, weights(step), state(step))
    found = store.load_newest()
    assert found.step == 100
    assert same(found.weights, weights(100))
    assert same(found.state, state(100))
    assert has_checkpoint(tmp_path)


def test_a_damaged_checkpoint_takes_no_place_of_those_that_are_kept(store, tmp_path):
    for step in (1, 2):
        store.save(step, weights(step), state(step))
    (tmp_path / "resume" / "2" / "state.pt").write_bytes(b"damaged")
    again = CheckpointStore(tmp_path, HEADER)
    assert again.load_newest().step == 1
    again.save(1, weights(1), state(1))  # as after a stop in the epoch's validation
    assert {path.name for path in (tmp_path / "resume").iterdir()} == {"1", "1.1"}


def test_the_newest_two_are_kept_and_last_is_the_newest(store, tmp_path):
    for step in (1, 2, 3, 4):
        store.save(step, weights(step), state(step))
    assert sorted(p.name for p in (tmp_path / "resume").iterdir()) == ["3", "4"]
    tensors, header = load_weights(tmp_path / "last.safetensors")
    assert tensors["count"] == 4
    assert header == HEADER


def test_the_same_step_saved_again_replaces_nothing_and_is_the_newest(store, tmp_path):
    for value in (1, 2, 3, 4):
        store.save(7, weights(value), state(7))
    assert store.load_newest().weights["count"] == 4
    assert sorted(p.name for p in (tmp_path / "resume").iterdir()) == ["7.2", "7.3"]
    store.save(8, weights(5), state(8))
    assert store.load_newest().weights["count"] == 5


def test_an_unreadable_newest_gives_way_to_the_one_before(store, tmp_path):
    store.save(1, weights(1), state(1))
    store.save(2, weights(2), state(2))
    (tmp_path / "resume" / "2" / "state.pt").unlink()
    assert store.load_newest().step == 1


def test_leftovers_of_a_crash_are_never_loaded_and_swept_by_the_next_save(store, tmp_path):
    store.save(1, weights(1), state(1))
    staging = tmp_path / "resume" / ".2.tmp"
    staging.mkdir()
    (staging / "weights.safetensors").write_bytes(b"half")
    assert store.load_newest().step == 1
    store.save(3, weights(3), state(3))
    assert not staging.exists()
    store.save(4, weights(4), state(4))
    assert sorted(p.name for p in (tmp_path / "resume").iterdir()) == ["3", "4"]


def test_the_best_weights_tell_their_epoch_and_accuracy(store, tmp_path):
    store.save_best(weights(1), epoch=3, val_acc=0.71234567)
    store.save_best(weights(2), epoch=8, val_acc=0.75)
    tensors, header = load_weights(tmp_path / "best.safetensors")
    assert tensors["count"] == 2
    assert header == {**HEADER, "epoch": "8", "val_acc": "0.750000"}


def test_the_header_alone_tells_the_network():
    plain = describe_model(ModelConfig("vgg11", num_classes=7, width=0.5))
    chosen = describe_model(ModelConfig("vgg11", "mish", "group", 0.5, 7))
    assert (plain["arch"], plain["num_classes"], plain["width"]) == ("vgg11", "7", "0.5")
    assert (plain["activation"], plain["norm"]) == ("relu", "batch")
    assert (chosen["activation"], chosen["norm"]) == ("mish", "group")


def test_weights_of_a_channels_last_network_keep_values_and_each_sides_memory_format(
    tmp_path, same
):
    source = network(seed=3).to(memory_format=torch.channels_last)
    save_weights(tmp_path / "w.safetensors", source.state_dict(), HEADER)
    target = network(seed=4).to(memory_format=torch.channels_last)
    before = {key: tensor.stride() for key, tensor in target.state_dict().items()}
    apply_weights(target, *load_weights(tmp_path / "w.safetensors"), HEADER)
    assert same(dict(target.state_dict()), dict(source.state_dict()))
    assert {key: tensor.stride() for key, tensor in target.state_dict().items()} == before
    plain = network(seed=5)
    apply_weights(plain, *load_weights(tmp_path / "w.safetensors"), HEADER)
    assert all(p.is_contiguous() for p in plain.parameters())


def test_weights_of_a_file_without_a_header_are_judged_by_their_tensors(same):
    target = network(seed=1)
    apply_weights(target, dict(network(seed=2).state_dict()), {}, HEADER)
    assert same(dict(target.state_dict()), dict(network(seed=2).state_dict()))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"gone.safetensors: no such weights file"):
        load_weights(tmp_path / "gone.safetensors")


def test_the_manifest_holds_a_digest_of_both_files(store, tmp_path):
    store.save(5, weights(5), state(5))
    manifest = json.loads((tmp_path / "resume" / "5" / "manifest.json").read_text())
    assert (manifest["schema"], manifest["step"]) == (1, 5)
    assert set(manifest["sha256"]) == {"weights.safetensors", "state.pt"}
