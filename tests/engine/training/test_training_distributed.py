"""Two processes train as one does: the same batches, the same chance, the gradients' exact mean."""

import json

import pytest
import torch

import train
from engine.checkpoint import load_weights
from engine.errors import ConfigError
from engine.training.distributed import ALONE, Group

# 46 images in batches of 15: uneven parts, and a last batch of one image, of which one process has
# none. With a smooth activation at a low learning rate no rounding grows: the two agree closely.
SIZES = ("--limit", 46, "-b", 15, "--lr", 0.01)
CHANGES = (*SIZES, "--activation", "gelu", "--norm", "group", "--mixup-aug", "--erase-aug")


@pytest.mark.usefixtures("one_thread")
def test_two_processes_end_where_one_does(torchrun, tiny_args, tmp_path):
    """With group norm: a batch norm averages over the images of its own process."""
    two = torchrun(*tiny_args(tmp_path, "--name", "two", *CHANGES))
    assert train.main(tiny_args(tmp_path, "--name", "one", *CHANGES)) == 0
    output, errors = two.communicate(timeout=120)
    assert two.returncode == 0, errors
    assert output.count("final") == 1  # one process speaks for both

    (one, _), (both, _) = (load_weights(tmp_path / n / "last.safetensors") for n in ("one", "two"))
    assert one.keys() == both.keys()  # nothing of the wrapper in the names
    for key, tensor in one.items():
        torch.testing.assert_close(both[key], tensor, rtol=1e-5, atol=1e-5, msg=key)
    rows = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("one", "two")
    ]
    assert len(rows[0]) == len(rows[1])
    for alone, shared in zip(*rows, strict=True):
        assert alone["step"] == shared["step"]
        key = "loss" if alone["kind"] == "step" else "val_loss"
        assert alone[key] == pytest.approx(shared[key], rel=1e-4)
    status = json.loads((tmp_path / "two" / "status.json").read_text())
    assert status["compute"]["processes"] == 2


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [1, 2, 4, 16, 17])
def test_the_parts_of_a_batch_are_all_of_it_once(size, count):
    parts = [Group(rank, size).part(count) for rank in range(size)]
    images = [i for part, share in parts if share for i in range(count)[part]]
    assert images == list(range(count))
    assert sum(share for _, share in parts) == pytest.approx(1)
    assert all(len(range(count)[part]) >= 1 for part, _ in parts)
    for part, share in parts:
        assert share in (0.0, pytest.approx(len(range(count)[part]) / count))


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ConfigError, match="batch_size: 1 images cannot be split over 2 processes"):
        Group(0, 2).check(1)
    Group(0, 2).check(2)
    ALONE.check(1)


def test_each_process_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    devices = [Group(rank, 4, rank).device("auto") for rank in range(4)]
    assert devices == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert Group(1, 2, 1).device("cuda:0") == "cuda:1"  # as another process wrote it down
    assert Group(1, 2, 1).device("cpu") == "cpu"
    assert ALONE.device("auto") == "auto"
