"""What several tests of Inspect share."""

from __future__ import annotations

from engine.inspect.predictions import compute_like
from engine.predict import load_network

TESTS = 200  # test images of the built-in data set, as the fixture draws it


def texts(at):
    elements = [*at.markdown, *at.caption, *at.info, *at.warning, *at.error]
    return "\n".join(element.value for element in elements)


def pictures(at, key):
    """Numbers of the images that a gallery shows, in order."""
    start = f"open_{key}_"
    return [int(b.key[len(start) :]) for b in at.button if (b.key or "").startswith(start)]


def table(at, *columns):
    return next(
        frame.value for frame in at.dataframe if set(columns) <= set(map(str, frame.value.columns))
    )


def spoken(at):
    return "\n".join(element.value for element in at.markdown)


def inference(run):
    """The network as its run's validation would compute it on this machine, and the precision."""
    compute, kind = compute_like(run)
    return load_network(run.path, compute, kind), compute
