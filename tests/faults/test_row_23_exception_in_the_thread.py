"""Row 23 of docs/FAULTS.md: an exception in a model, or sys.exit in the training thread."""

import sys

import pytest
import torch
from torch import nn

from engine.models import ARCHITECTURES, Architecture
from engine.runs.run import State

pytestmark = pytest.mark.usefixtures("one_thread", "every_step")


def boom():
    raise RuntimeError("the flux capacitor is empty\nand a second line")


class Treacherous(nn.Module):
    """Answers a few batches, then acts."""

    def __init__(self, num_classes: int, act, good: int):
        super().__init__()
        self.layer = nn.Conv2d(3, num_classes, 32)
        self.act, self.left = act, good

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            self.act()
        return self.layer(images).flatten(1)


@pytest.fixture
def treacherous(monkeypatch):
    """treacherous(act, good) is a known architecture that acts after so many batches."""

    def register(act, good: int = 2) -> str:
        made = Architecture(
            build=lambda layers, classes: Treacherous(classes, act, good),
            family="Fake",
            description="for this test",
            paper="none",
        )
        monkeypatch.setitem(ARCHITECTURES, "treacherous", made)
        return "treacherous"

    return register


def interrupt():
    raise KeyboardInterrupt


ACTS = {
    "RuntimeError": (boom, "RuntimeError: the flux capacitor is empty (train.log has the details)"),
    "SystemExit": (lambda: sys.exit(3), "SystemExit: 3 (train.log has the details)"),
    "KeyboardInterrupt": (interrupt, "ended at once; the steps since the last checkpoint"),
}


@pytest.mark.parametrize("good", [0, 2, 3], ids=["at the first batch", "later", "in validation"])
@pytest.mark.parametrize("kind", ACTS)
def test_row_23_the_run_fails_with_a_traceback_and_the_queue_goes_on(
    worker, tiny, tmp_path, treacherous, wait_for, kind, good
):
    act, message = ACTS[kind]
    config = tiny(**{"model.arch": treacherous(act, good)})
    bad = worker.submit(config, "bad", tmp_path)
    good_run = worker.submit(tiny(epochs=1), "good", tmp_path)
    wait_for(lambda: good_run.status().state is State.FINISHED, "the next run")
    status = bad.status()
    assert status.state is State.FAILED
    assert status.message.startswith(message)
    assert "\n" not in status.message
    assert "Traceback (most recent call last)" in bad.log()
    assert "in forward" in bad.log()
    assert kind in bad.log()
    assert not bad.is_alive()


def test_row_23_an_exception_while_the_network_is_built_fails_the_run_too(
    worker, tiny, tmp_path, treacherous, wait_for, monkeypatch, make_run
):
    bad = tiny(**{"model.arch": treacherous(boom)})

    def refuse(layers, classes):
        raise ZeroDivisionError("no blocks")

    made = Architecture(build=refuse, family="Fake", description="", paper="")
    monkeypatch.setitem(ARCHITECTURES, "treacherous", made)
    run = make_run("bad", bad)
    later = worker.submit(tiny(epochs=1), "later", tmp_path)
    worker.continue_queue(tmp_path)
    wait_for(lambda: later.status().state is State.FINISHED, "the next run")
    wait_for(lambda: run.status().state is State.FAILED, "the bad run")
    assert run.status().message == "ZeroDivisionError: no blocks (train.log has the details)"
    assert "in refuse" in run.log()
