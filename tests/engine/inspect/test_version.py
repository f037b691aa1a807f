"""Copies of weights that a training replaces."""

import os
import time

import pytest
import torch

from engine.device import resolve
from engine.inspect import version
from engine.predict import load_network
from engine.runs.checkpoint import load_weights, save_weights


@pytest.fixture
def trained(make_run, train_run):
    run = make_run("a")
    train_run(run)
    return run


def test_a_copy_keeps_the_version_that_was_there(trained, tmp_path, same):
    weights = trained.path / "last.safetensors"
    before, header = load_weights(weights)
    copy, changed = version.keep(weights, tmp_path)
    about = weights.stat()
    assert changed == (about.st_mtime_ns, about.st_size)
    save_weights(weights, {key: torch.zeros_like(value) for key, value in before.items()}, header)
    assert same(load_weights(copy)[0], before)
    assert version.keep(weights, tmp_path)[0] != copy
    network = load_network(copy, resolve("cpu", "fp32"), "plain")
    assert network.config == trained.config()


def test_a_version_is_copied_once_and_old_copies_are_removed(trained, tmp_path):
    weights = trained.path / "last.safetensors"
    copy, _ = version.keep(weights, tmp_path)
    made = copy.stat().st_mtime_ns
    assert version.keep(weights, tmp_path)[0] == copy and copy.stat().st_mtime_ns == made
    yesterday = time.time() - version.MAX_AGE_S - 1
    os.utime(copy.parent, (yesterday, yesterday))
    os.utime(weights)
    newer, _ = version.keep(weights, tmp_path)
    assert newer.exists() and not copy.exists()


def test_weights_that_are_gone_are_an_os_error(tmp_path):
    with pytest.raises(OSError):
        version.keep(tmp_path / "a" / "last.safetensors", tmp_path / "versions")
