"""Row 24 of docs/FAULTS.md: SIGKILL at random moments, three times."""

import random
import signal
import sys
import time

import pytest

import train
from engine.runs.run import Run, State

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]

# train.py, but it reads after every step and saves after some, and takes long enough over each to
# be hit. Once the record of epoch FATAL is written, before its checkpoint, it kills itself.
CODE = """
import os, signal, sys, time
import train
from engine.training import loop, session
from engine.training.records import EpochRecord
loop.READ_EVERY_S, loop.SAVE_EVERY_S = 0.0, 0.15
step, run_training = loop.train_step, session.run_training
def slow(*args):
    time.sleep(0.05)
    return step(*args)
def die(record):
    if isinstance(record, EpochRecord) and record.epoch == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
loop.train_step = slow
session.run_training = lambda *args, **options: run_training(*args, **{**options, "on_record": die})
sys.exit(train.main(WORDS))
"""
EPOCHS = 6  # 18 steps
KILLS = ((1, 3), (5, 8), (10, 12))  # each at a random one of these steps
RECIPE = ["-e", EPOCHS, "--mixup-aug", "--cutmix-aug", "--erase-aug", "--warmup", "1"]


def test_row_24_killed_again_and_again_it_ends_as_if_never_killed(
    tmp_path, python, tiny_args, wait_for, checkpoint_of, same, lasting, scalars
):
    assert train.main(tiny_args(tmp_path, "--name", "whole", *RECIPE)) == 0
    chance = random.Random(24)
    run = Run(tmp_path / "killed")
    words = tiny_args(tmp_path, "--name", "killed", *RECIPE)
    again = ["--resume", "--name", "killed", "--run-root", str(tmp_path)]
    for low, high in KILLS:
        child = python(CODE, WORDS=words, FATAL=None)
        step = chance.randint(low, high)
        wait_for(lambda s=step: run.path.exists() and run.status().step >= s, f"step {step}")
        time.sleep(chance.uniform(0, 0.15))  # anywhere in a step, a reading or a save
        child.process.kill()
        assert child.wait() == -signal.SIGKILL, f"not killed: {child.text}"
        assert run.status().state is State.INTERRUPTED
        words = again
    assert python(CODE, WORDS=again, FATAL=5).wait() == -signal.SIGKILL
    assert train.main(again) == 0

    whole = Run(tmp_path / "whole")
    assert run.status().state is State.FINISHED
    assert same(checkpoint_of(run.path), checkpoint_of(whole.path))
    assert lasting(run.records()[0]) == lasting(whole.records()[0])
    assert scalars(run) == scalars(whole), "TensorBoard has duplicates or gaps"
    assert len(list((run.path / "resume").iterdir())) == 2
    assert not list(run.path.glob(".*.safetensors*"))
