"""What the pages read of runs: the order of shipped networks."""

import pytest

from engine import runs
from engine.runs.run import State
from pages.ui import folders, readings

SHIPPED = {"a": ("shapes", 0.97), "b": ("cifar10", 0.85), "c": ("cifar10", 0.91), "d": ("", None)}


@pytest.fixture
def shipped(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr(folders, "SHIPPED", tmp_path)
    for name, (dataset, accuracy) in SHIPPED.items():
        with runs.create(tmp_path, name, tiny()).hold("a test") as writer:
            info = {"name": dataset, "classes": ["x", "y"], "mean": [0.5] * 3, "std": [0.25] * 3}
            writer.save_config(tiny(), info)
            writer.update(state=State.FINISHED, final_acc=accuracy)


def test_the_most_accurate_comes_first_and_the_built_in_shapes_last(shipped):
    assert [run.name for run in readings.shipped_networks()] == ["c", "b", "d", "a"]


def test_a_damaged_one_hides_no_other(shipped, tmp_path):
    (tmp_path / "c" / "config.json").write_text("{")
    (tmp_path / "b" / "status.json").write_text("{")
    assert {run.name for run in readings.shipped_networks()} == SHIPPED.keys()
