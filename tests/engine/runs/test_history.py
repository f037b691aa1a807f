"""Predictions of each epoch: kept in order, trimmed by a resume, those of the validation."""

import numpy as np
import pytest

from engine.data import load
from engine.device import resolve
from engine.predict import load_network, own_splits
from engine.runs import history
from engine.runs.run import State
from engine.training.records import EpochRecord


@pytest.fixture
def path(tmp_path):
    return tmp_path / history.NAME


def rows(path, images=3):
    return history.read(path.parent, images).tolist()


def test_rows_in_order(path):
    history.append(path, 1, bytes([1, 2, 3]))
    history.append(path, 2, bytes([4, 5, 6]))
    assert rows(path) == [[1, 2, 3], [4, 5, 6]]


def test_an_epoch_that_is_trained_again_replaces_its_row(path):
    for epoch in (1, 2, 3, 2):
        history.append(path, epoch, bytes([epoch] * 3))
    assert rows(path) == [[1] * 3, [2] * 3]


def test_an_incomplete_row_is_left_out_and_written_again(path):
    history.append(path, 1, bytes([1, 2, 3]))
    with path.open("ab") as file:
        file.write(b"\4")
    assert rows(path) == [[1, 2, 3]]
    history.append(path, 2, bytes([4, 5, 6]))
    assert rows(path) == [[1, 2, 3], [4, 5, 6]]


def test_a_run_of_an_older_version_has_unknown_epochs(path):
    assert rows(path) == []
    history.trim(path, 0, 3)
    assert not path.exists()
    history.trim(path, 2, 3)
    assert rows(path) == [[history.UNKNOWN] * 3] * 2


def test_a_resumed_run_keeps_what_one_in_a_single_session_does(
    make_run, train_run, shapes_root, tiny, one_thread
):
    whole, parts = make_run("whole"), make_run("parts")
    assert train_run(whole) is State.FINISHED
    epochs = []

    def pause_after_first(record):
        epochs.extend([record] if isinstance(record, EpochRecord) else [])

    state = train_run(parts, on_record=pause_after_first, ask=lambda: "pause" if epochs else None)
    assert state is State.PAUSED
    # As if it had been killed between the second epoch's row and its checkpoint
    history.append(parts.path / history.NAME, 2, bytes(40))
    assert train_run(parts) is State.FINISHED
    found = history.read(parts.path, 40)
    assert found.shape == (2, 40)
    assert np.array_equal(found, history.read(whole.path, 40))
    network = load_network(parts.path, resolve("cpu", "fp32"))
    labels = own_splits(network, load("shapes", shapes_root)).val_labels.numpy()
    accuracies = [epoch["val_acc"] for epoch in parts.epochs()]
    assert (found == labels).mean(1).tolist() == pytest.approx(accuracies)
