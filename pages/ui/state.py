"""What all pages of one server share: folders, the worker, the page's frame, cached readings."""

from __future__ import annotations

import gc
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import streamlit as st

from engine import data, estimate, runs
from engine.config import ModelConfig, RunConfig
from engine.data import ImageData
from engine.data.batches import sample_indices, split
from engine.device import resolve
from engine.errors import ConfigError, DataError, RunError
from engine.estimate import Costs
from engine.models import build_on_meta
from engine.models.summary import summarize
from engine.predict import load_network, measure
from engine.runs.run import Run, State, Status
from engine.training import progressive
from engine.worker import Worker, get_worker

# Tests and classrooms keep their runs and data elsewhere.
RUN_ROOT = Path(os.environ.get("PLAYGROUND_RUN_ROOT", "checkpoints"))
DATA_ROOT = Path(os.environ.get("PLAYGROUND_DATA_ROOT", "data"))
ICON = Path(__file__).with_name("icon.png")  # a named icon would be fetched from a font server
# The sidebar names a page after its file; the first one is people's home.
HOME_LABEL = """<style>
[data-testid="stSidebarNavItems"] > li:first-child p { font-size: 0; }
[data-testid="stSidebarNavItems"] > li:first-child p::after {
  content: "Home"; font-size: 0.875rem; line-height: 2;
}
</style>"""
LIVE = (State.QUEUED, State.RUNNING)
LOOK_S = 5.0  # seconds from one look at all runs to the next

_probe = threading.Lock()
_frozen_modules = 0  # imported when the garbage collector was last told to pass them over


def start_page(title: str) -> None:
    """Call first on every page: browser title, icon, layout, heading."""
    form = st.session_state
    form["entered"] = form.get("entered", False) or form.get("page") != title
    form["page"] = title
    st.set_page_config(page_title=f"{title} · CIFAR-10 playground", page_icon=ICON, layout="wide")
    _once_per_process()
    _freeze()
    st.html(HOME_LABEL)
    st.title(title)


def entered() -> bool:
    """Whether the page was opened since this was last asked, rather than only drawn again.

    Only then does its address say something new: later it may be older than what the page shows.
    """
    return st.session_state.pop("entered", False)


def worker() -> Worker:
    """The process's training worker on the best device here."""
    return get_worker("auto")


@st.cache_resource
def _once_per_process() -> None:
    # The built-in images take seconds to draw: have them ready before the first Start. Not a
    # daemon: ending the process amid torch's kernels aborts it, and this is over soon.
    threading.Thread(target=_draw_shapes, name="draw-shapes", daemon=False).start()


def _freeze() -> None:
    """Take what was imported since the last call out of the garbage collector's reach.

    Streamlit collects garbage after every script run; with torch's objects in reach that takes
    140 ms and stalls the training thread. Frozen objects are passed over. Much is imported late:
    by the first page, and by the first training.
    """
    global _frozen_modules
    if len(sys.modules) != _frozen_modules:
        _frozen_modules = len(sys.modules)
        gc.collect()
        gc.freeze()


def _draw_shapes() -> None:
    # Whoever needs the images will see this error where it can be told; this is only a head start.
    try:
        data.load("shapes", DATA_ROOT)
    except (OSError, ValueError):
        return


def compute_text(precision: str = "auto") -> str:
    """Device and precision that training will use, for a person."""
    compute = resolve("auto", precision)
    kind = {"cpu": "CPU", "cuda": "NVIDIA GPU", "mps": "Apple GPU"}[compute.device.type]
    return f"{kind} ({compute.describe()['device_name']}), {compute.precision}"


def statuses() -> list[tuple[Run, Status]]:
    """Every readable run with its status, newest first."""
    pairs = ((run, status_of(run)) for run in runs.list_runs(RUN_ROOT))
    return [(run, status) for run, status in pairs if status is not None]


def states(pairs: list[tuple[Run, Status]]) -> list[tuple[str, State]]:
    return [(run.name, status.state) for run, status in pairs]


def states_and_epochs(pairs: list[tuple[Run, Status]]) -> list[tuple[str, State, int]]:
    return [(run.name, status.state, status.epoch) for run, status in pairs]


def follow(
    reading: Callable[[list], Any], pairs: list[tuple[Run, Status]], every: float = LOOK_S
) -> None:
    """Draw the page again when `reading`, of all runs, gives something else than of `pairs`.

    So it follows what other tabs and the command line do; looked at `every` so many seconds.
    """
    st.fragment(_look, run_every=every)(reading, reading(pairs), time.monotonic())


def _look(reading: Callable[[list], Any], seen: Any, drawn: float) -> None:
    # Not while the page is being drawn: of a run with short epochs it would be drawn without end.
    if time.monotonic() - drawn > LOOK_S / 2 and reading(statuses()) != seen:
        st.rerun()


def status_of(run: Run) -> Status | None:
    """A run's status, or None when it was deleted meanwhile."""
    try:
        return run.status()
    except RunError:
        return None


def find_run(name: str | None) -> Run | None:
    """The run of that name, or None."""
    try:
        return runs.open_run(RUN_ROOT, name) if name else None
    except ValueError:
        return None


def records(run: Run) -> list[dict[str, Any]]:
    """All of a run's records, read again only when the file changed."""
    version = _version(run)
    return _records(str(run.path), *version) if version else []


def epochs(run: Run) -> list[dict[str, Any]]:
    """The records of a run's epochs alone, read again only when the file changed."""
    version = _version(run)
    return _epochs(str(run.path), *version) if version else []


def _version(run: Run) -> tuple[int, int] | None:
    """What tells that a run's records changed: time and bytes; None before the first."""
    try:
        stat = (run.path / "metrics.jsonl").stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size


@st.cache_data(max_entries=64, show_spinner=False)
def _records(path: str, changed: int, size: int) -> list[dict[str, Any]]:
    return Run(Path(path)).records()[0]


@st.cache_data(max_entries=256, show_spinner=False)
def _epochs(path: str, changed: int, size: int) -> list[dict[str, Any]]:
    return Run(Path(path)).epochs()


def images(dataset: str) -> ImageData:
    """A data set that is here already; never downloads. Read again when it changed."""
    return _images(dataset, stamp(dataset))


@st.cache_resource(max_entries=2, show_spinner="Reading the images…")
def _images(dataset: str, changed: tuple[int, ...]) -> ImageData:
    return data.load(dataset, DATA_ROOT)


@st.cache_data(max_entries=32, show_spinner=False, ttl=5)
def stamp(dataset: str) -> tuple[int, ...]:
    """What tells that one's own images changed: time and size of a zip, or of every folder in one.

    A file that is added or taken away changes its folder's time. Looked at every few seconds.
    """
    if dataset in data.DATASETS:
        return ()
    path = Path(dataset).expanduser()
    places = [path, *sorted(Path(at) for at, _, _ in os.walk(path))]  # of a zip nothing
    try:
        stats = [place.stat() for place in places]
    except OSError:
        return ()
    return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size))


CLEAN_IMAGES = 2_000  # a random sample of the training images that takes seconds


def clean_train_accuracy(path: str, changed: int, dataset: str) -> float:
    """Accuracy of a run's last weights on training images without augmentation."""
    return _clean_train_accuracy(path, changed, stamp(dataset))


@st.cache_data(max_entries=32, show_spinner="Measuring…")
def _clean_train_accuracy(path: str, weights: int, images_changed: tuple[int, ...]) -> float:
    compute = resolve()
    network = load_network(Path(path), compute)
    config = network.config
    parts = split(
        images(config.data.dataset),
        holdout=config.data.holdout,
        limit=config.data.limit,
        seed=config.seed,
    )
    sample = sample_indices(len(parts.train_labels), CLEAN_IMAGES, config.seed)
    return measure(network, parts.train_images[sample], parts.train_labels[sample], compute).acc


@st.cache_data(max_entries=128, show_spinner=False)
def model_costs(model: ModelConfig, batch_size: int) -> dict[str, Any]:
    """Parameters, bytes that training a batch takes, and what a step costs."""
    network = build_on_meta(**model.arguments)  # a link may ask for more weights than memory
    summary = summarize(network, batch_size)
    # weights, gradients and momentum, in fp32
    held = 3 * 4 * summary.parameters
    return {
        "parameters": summary.parameters,
        "bytes": summary.activation_bytes + held,
        "step": estimate.costs(network),
    }


def epoch_seconds(config: RunConfig, network: Costs) -> float | None:
    """What an epoch is expected to take here; None until this machine's speed is known.

    Raises as data_sizes does.
    """
    compute = resolve(config.device, config.precision)
    speed = estimate.load_speed(_speed_file(), compute)
    if speed is None:
        return None
    train, test = data_sizes(config)
    steps = math.ceil(train / config.batch_size)
    if config.progressive:
        train *= progressive.cost()
    return estimate.epoch_seconds(network, speed, steps, train, config.data.holdout or test)


def data_sizes(config: RunConfig) -> tuple[int, int]:
    """Images that the form's run would train on, and those of the test set.

    Raises ConfigError when held-out images leave none to train on, DataError for one's own images
    that cannot be read. Those are read for it; what is downloaded is known without.
    """
    dataset = config.data.dataset
    if dataset in data.DATASETS:
        train, test = data.DATASETS[dataset].sizes
    else:
        _, *columns = zip(*own_classes(dataset), strict=True)
        train, test = map(sum, columns)
    left = train - config.data.holdout
    if left < 1:
        raise ConfigError("data.holdout", f"leave some of the {train:,} training images to learn")
    return min(left, config.data.limit or left), test


def own_classes(dataset: str) -> list[tuple[str, int, int]]:
    """Each class of one's own images with its training and test images. Raises DataError."""
    counts, problem = _own_classes(dataset, stamp(dataset))
    if problem:
        raise DataError(problem)
    return counts


@st.cache_data(max_entries=32, show_spinner="Reading the images…", ttl=60)
def _own_classes(dataset: str, changed: tuple[int, ...]) -> tuple[list[tuple[str, int, int]], str]:
    """Images of each class, or why there are none: told again without reading all again.

    For a minute, since the reason may be a full disk.
    """
    try:
        return _images(dataset, changed).class_counts(), ""
    except DataError as error:
        return [], str(error)


def measure_speed(config: RunConfig) -> None:
    """Measure this machine's speed on a thread of its own, unless something trains or measures."""
    if worker().current is None and _probe.acquire(blocking=False):
        compute = resolve(config.device, config.precision)
        threading.Thread(target=_measure, args=(compute,), name="probe", daemon=False).start()


def _measure(compute) -> None:
    try:
        speed = estimate.measure_speed(compute)
        if worker().current is None:  # a training that began meanwhile has spoilt the figure
            estimate.store_speed(_speed_file(), compute, speed)
    finally:
        _probe.release()


def _speed_file() -> Path:
    return RUN_ROOT / ".throughput.json"


def command(config: RunConfig, name: str) -> str:
    """The terminal line that repeats the form's run."""
    line = config.to_command(name)
    return line if Path("checkpoints") == RUN_ROOT else f"{line} --run-root {RUN_ROOT}"


def duration(seconds: float) -> str:
    """Such as 40 s, 12 min, 3.5 h, about 3 days."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return (
                f"{seconds / size:.1f} {unit}"
                if seconds < 10 * size
                else f"{seconds / size:.0f} {unit}"
            )
    return f"{seconds:.0f} s"


def percent(fraction: float | None) -> str:
    # a half is rounded up, as the browser does: 93.775 is often a little less in binary
    return "–" if fraction is None else f"{100 * fraction + 1e-9:.2f} %"
