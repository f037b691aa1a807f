"""Row 60 of docs/FAULTS.md: a network that needs more memory than there is."""

import torch

import train
from engine.advice import warnings
from engine.config import RunConfig

PAGE = "pages/1_Train.py"


def test_row_60_more_memory_than_there_is_is_warned_of():
    (line,) = warnings(RunConfig(), required=50_000_000_000, available=24_000_000_000)
    assert "50 GB" in line
    assert "24 GB" in line
    assert warnings(RunConfig(), required=1, available=2) == []
    assert warnings(RunConfig(), required=10**15) == []


def test_row_60_a_network_larger_than_memory_is_refused_without_making_it(app, monkeypatch):
    """A link may ask for hundreds of gigabytes of weights."""
    monkeypatch.setattr(torch.nn.Module, "to_empty", None)
    at = app(PAGE, choices='{"model.width":64}')
    assert not at.exception
    assert "training needs 548 GB" in at.error[0].value
    assert at.button(key="start").disabled


def test_row_60_the_terminal_refuses_it_before_it_is_built(tiny_args, tmp_path, capsys):
    assert train.main(tiny_args(tmp_path, "--arch", "resnet18", "--width", 64)) == 2
    line = capsys.readouterr().err
    assert line.startswith("train.py: --width: training needs 548 GB")
    assert line.count("\n") == 1


def test_row_60_the_terminal_warns_of_it_too(tiny_args, tmp_path, monkeypatch, capsys, one_thread):
    monkeypatch.setattr(train, "memory_bytes", lambda device: 1_000)
    assert train.main(tiny_args(tmp_path, "-e", 1)) == 0
    assert "training needs about" in capsys.readouterr().err
