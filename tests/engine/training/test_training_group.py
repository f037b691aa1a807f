"""Two processes train as one does: the same batches and augmentation, the exact mean gradient."""

import json

import pytest
import torch

import train
from engine.config import RunConfig
from engine.errors import ConfigError
from engine.runs.checkpoint import load_weights
from engine.runs.run import Run, State
from engine.training.group import SINGLE_PROCESS, Group

# 46 images in batches of 15: uneven parts, and a last batch of one image, of which one process has
# none. With a smooth activation at a low learning rate no rounding grows: the two agree closely.
SIZES = ("--limit", 46, "-b", 15, "--lr", 0.01)
CHANGES = (*SIZES, "--activation", "gelu", "--norm", "group", "--mixup-aug", "--erase-aug")


# train.py, whose run is asked to stop before it has begun.
STOPPED_AT_ONCE = """
import os, train
from engine.training import session

def stopped(writer, *words, train_it=session.run_training, **options):
    writer.run.request("stop")
    return train_it(writer, *words, **options)

session.run_training = stopped
os._exit(train.main())
"""


@pytest.mark.usefixtures("one_thread")
def test_two_processes_end_where_one_does(torchrun, tiny_args, tmp_path):
    """With group norm: a batch norm averages over the images of its own process."""
    two = torchrun(*tiny_args(tmp_path, "--name", "two", *CHANGES))
    assert train.main(tiny_args(tmp_path, "--name", "one", *CHANGES)) == 0
    output, errors = two.communicate(timeout=120)
    assert two.returncode == 0, errors
    assert output.count("on the test set") == 1  # one process speaks for both

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
def test_the_shards_of_a_batch_are_all_of_it_once(size, count):
    shards = [Group(rank, size).shard(count) for rank in range(size)]
    images = [i for shard, fraction in shards if fraction for i in range(count)[shard]]
    assert images == list(range(count))
    assert sum(fraction for _, fraction in shards) == pytest.approx(1)
    assert all(len(range(count)[shard]) >= 1 for shard, _ in shards)
    for shard, fraction in shards:
        assert fraction in (0.0, pytest.approx(len(range(count)[shard]) / count))


@pytest.mark.slow
def test_the_validated_network_is_the_one_that_is_kept(torchrun, tiny_args, tmp_path, capsys):
    """Each process has batch norm statistics of its own; all validate with those of the first.

    Batches of 15, so that each sees another part of the last one.
    """
    words = tiny_args(tmp_path, "--name", "two", "--limit", 45, "-b", 15, "--ema", 0.5, "-e", 1)
    words[words.index("--holdout") + 1] = "0"
    launcher = torchrun(*words)
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, errors
    told = Run(tmp_path / "two").records()[0][-1]
    assert train.main(["--evaluate", "two", "--run-root", str(tmp_path)]) == 0
    loss = float(capsys.readouterr().out.split("loss ")[1].split()[0])
    assert loss == pytest.approx(told["val_loss"], abs=1e-4)


@pytest.mark.slow
def test_a_run_that_is_stopped_before_its_first_step_lets_the_others_go(
    torchrun, tiny_args, tmp_path
):
    """It was asked while the processes waited for each other: the first record tells of it."""
    program = tmp_path / "stopped.py"
    program.write_text(STOPPED_AT_ONCE)
    launcher = torchrun(*tiny_args(tmp_path, "--name", "two", "-e", 500), program=program)
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, errors
    status = Run(tmp_path / "two").status()
    assert (status.state, status.step) == (State.STOPPED, 0)


def test_what_cannot_be_trained_together_is_refused(monkeypatch):
    one = RunConfig(batch_size=1)
    with pytest.raises(ConfigError, match="batch_size: 1 images cannot be split over 2 processes"):
        Group(0, 2).check(one)
    Group(0, 2).check(RunConfig(batch_size=2, device="cpu"))
    SINGLE_PROCESS.check(one)
    with pytest.raises(ConfigError, match="device: several processes cannot train on mps; use cpu"):
        Group(0, 2).check(RunConfig(device="mps"))
    SINGLE_PROCESS.check(RunConfig(device="mps"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(
        ConfigError, match="device: 3 processes need one GPU each, but 2 are available"
    ):
        Group(0, 3).check(RunConfig())
    Group(0, 3).check(RunConfig(device="cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    Group(0, 2).check(RunConfig())


def test_each_process_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [Group(rank, 4, rank % 2).device("auto") for rank in range(4)] == [
        *("cuda:0", "cuda:1", "cuda:0", "cuda:1")  # on two machines
    ]
    assert Group(1, 2, 1).device("cuda:0") == "cuda:1"  # as another process wrote it down
    assert Group(1, 2, 1).device("cpu") == "cpu"
    assert SINGLE_PROCESS.device("auto") == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert Group(1, 2, 1).device("auto") == "cpu"  # where one process would take an Apple GPU


# train.py, whose run is asked to stop when an epoch's steps are done and its validation begins.
STOPPED_BEFORE_VALIDATION = """
import os, train
from engine.training import session

def stopped(writer, *words, train_it=session.run_training, **options):
    def watch(record):
        if getattr(record, "phase", "") == "validating":
            writer.run.request("stop")
    return train_it(writer, *words, **{**options, "on_record": watch})

session.run_training = stopped
os._exit(train.main())
"""


@pytest.mark.slow
def test_a_stop_before_validation_lets_the_others_go(torchrun, tiny_args, tmp_path):
    """With batch norm, whose statistics the processes exchange next; then nothing is left to do."""
    program = tmp_path / "stopped.py"
    program.write_text(STOPPED_BEFORE_VALIDATION)
    launcher = torchrun(*tiny_args(tmp_path, "--name", "two", "-e", 50), program=program)
    _, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, errors
    assert Run(tmp_path / "two").status().state is State.STOPPED


@pytest.mark.slow
def test_resuming_a_finished_run_is_no_failure(torchrun, tiny_args, tmp_path):
    assert train.main(tiny_args(tmp_path, "--name", "two", "-e", 1)) == 0
    launcher = torchrun("--name", "two", "--resume", "--run-root", str(tmp_path))
    output, errors = launcher.communicate(timeout=120)
    assert launcher.returncode == 0, errors
    assert "is finished" in output
