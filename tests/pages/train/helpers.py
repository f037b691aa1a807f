"""What the tests of Train share."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from engine.config import RunConfig
from engine.runs.run import Run, State
from pages.ui import choices, folders

PAGE = "pages/1_Train.py"


def fill_tiny(at, tmp: str = ""):
    """The smallest run that the form can ask for."""
    at.number_input(key="width").set_value(0.0625)
    at.number_input(key="limit").set_value(48)
    at.number_input(key="holdout").set_value(40)
    at.number_input(key="batch_size").set_value(16)
    at.number_input(key="epochs").set_value(2)
    return at.run()


def preset(at):
    """The choice of a preset, whose key tells which one the form matches."""
    (control,) = [c for c in at.segmented_control if c.key.startswith("preset_")]
    return control


def captions(at) -> str:
    return "\n".join(caption.value for caption in at.caption)


def state_of(name: str) -> State:
    return Run(folders.RUN_ROOT / name).status().state


def choices_of(at) -> RunConfig:
    """The config in the page's link, which leaves out where the data lie."""
    link = next(block.value for block in at.code if "choices=" in block.value)
    return choices.decode(parse_qs(urlsplit(link).query)["choices"][0])
