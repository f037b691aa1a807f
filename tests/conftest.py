"""What several tests share: tiny data, configs, runs and trainers, and ways to compare them."""

from __future__ import annotations

import gc
import os
import shutil
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from engine import data, runs
from engine.config import RunConfig, with_fields
from engine.data import shapes
from engine.data.batches import Splits
from engine.device import resolve
from engine.models import build_model
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import RESUMABLE, Run, State
from engine.training import loop, session
from engine.training.loop import Trainer
from engine.training.prepare import make_pipeline, prepare
from engine.training.records import EpochRecord, StepRecord
from engine.worker import Worker

# A run ends with a garbage collection, which would walk all that was imported: half of the time of
# a test that trains.
gc.freeze()
WAIT_S = 300  # a guard against hanging for ever, not a measure of speed


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory) -> Path:
    """A data folder whose cache holds the first few hundred of the built-in images."""
    root = tmp_path_factory.mktemp("data")
    draw = shapes.make
    with mock.patch.object(shapes, "make", lambda watch, *counts: draw(watch, 500, 200)):
        data.load("shapes", root)
    return root


@pytest.fixture(scope="session")
def zip_if_here() -> Path | None:
    """CIFAR-10 (JPEG), where it is: beside the repository, or where CIFAR10_JPEG_ZIP points."""
    beside = Path(__file__).parents[1].parent / "shared" / "cifar10-jpeg.zip"
    path = Path(os.environ.get("CIFAR10_JPEG_ZIP") or beside)
    return path if path.is_file() else None


@pytest.fixture(scope="session")
def real_zip(zip_if_here) -> Path:
    """CIFAR-10 (JPEG); without it the test is left out."""
    if zip_if_here is None:
        pytest.skip("no cifar10-jpeg.zip: set CIFAR10_JPEG_ZIP")
    return zip_if_here


@pytest.fixture(scope="module")
def one_thread():
    """One core for a tiny network: a second one only costs, above all when others use it."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def every_step(monkeypatch):
    """The loop reads, and so yields, after every step instead of four times a second."""
    monkeypatch.setattr(loop, "READ_EVERY_S", 0.0)


@pytest.fixture(scope="session")
def tiny(shapes_root):
    """tiny(**{"optim.lr": 0.01}) is the config of a run of 6 steps in 2 epochs on the CPU."""

    def make(**changes) -> RunConfig:
        base = {
            "model.arch": "resnet10",
            "model.width": 0.0625,
            "data.dataset": "shapes",
            "data.root": str(shapes_root),
            "data.limit": 48,
            "data.holdout": 40,
            "batch_size": 16,
            "epochs": 2,
            "precision": "fp32",
            "device": "cpu",
        }
        return with_fields(RunConfig(), base | changes)

    return make


@pytest.fixture(scope="session")
def tiny_args(shapes_root):
    """tiny_args(run_root, ...) are the words of the same run for train.py."""

    def make(run_root: Path, *more: object) -> list[str]:
        words = "--dataset shapes --limit 48 --holdout 40 -b 16 -e 2 --arch resnet10 --width 0.0625"
        words += " --precision fp32 --device cpu"
        paths = ["--data-root", str(shapes_root), "--run-root", str(run_root)]
        return [*words.split(), *paths, *map(str, more)]

    return make


@pytest.fixture(scope="session")
def noise() -> Splits:
    """48 training and 20 validation images of noise."""
    generator = torch.Generator().manual_seed(5)

    def draw(count: int):
        images = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return images, torch.randint(10, (count,), generator=generator)

    return Splits(*draw(48), *draw(20), val_is_test=False)


@pytest.fixture(scope="session")
def make_trainer(tiny, noise):
    """make_trainer(folder or None, config) is a Trainer on `noise`, as a session would make it."""

    def make(folder: Path | None = None, config: RunConfig | None = None, splits=noise) -> Trainer:
        config = with_fields(config or tiny(), {"model.num_classes": 10})
        info = SimpleNamespace(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        m = config.model
        model = build_model(**m.arguments, seed=config.seed)
        store = CheckpointStore(folder, describe_model(m)) if folder else None
        compute = resolve(config.device, config.precision)
        pipeline = make_pipeline(config, info)
        return Trainer(config, splits, pipeline, model, compute, store)

    return make


@pytest.fixture(scope="session")
def same():
    """same(a, b): equal to the bit, through dicts, lists and tensors."""

    def equal(a, b) -> bool:
        if isinstance(a, torch.Tensor):
            return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        if isinstance(a, dict):
            return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
        if isinstance(a, (list, tuple)):
            return len(a) == len(b) and all(map(equal, a, b))
        return a == b

    return equal


@pytest.fixture(scope="session")
def lasting():
    """lasting(records): what of the kept records must not depend on how fast the machine was."""

    def keep(records) -> list[dict]:
        kept = [r for r in records if isinstance(r, (dict, StepRecord, EpochRecord))]
        rows = [r if isinstance(r, dict) else r.to_dict() for r in kept]
        clocks = ("seconds", "images_per_s")
        return [{k: v for k, v in row.items() if k not in clocks} for row in rows]

    return keep


@pytest.fixture(scope="session")
def checkpoint_of():
    """checkpoint_of(run folder): its newest checkpoint, but for what only tells the speed."""

    def load(folder: Path) -> tuple[dict, dict]:
        checkpoint = CheckpointStore(folder, {}).load_newest()
        clocks = ("seconds", "epoch_seconds")
        state = {k: v for k, v in checkpoint.state.items() if k not in clocks}
        return checkpoint.weights, state

    return load


@pytest.fixture
def scalars(tmp_path_factory):
    """scalars(run): {tag: [(epoch, value)]}, what TensorBoard shows of a run.

    It reads event files in the order of their names, which tell the second of their start. Tests
    resume faster than a person can, so here they get names in the order of their ends.
    """

    def read(run: Run) -> dict[str, list[tuple[int, float]]]:
        folder = tmp_path_factory.mktemp("events")
        files = sorted(run.path.glob("events.out.tfevents.*"), key=lambda f: f.stat().st_mtime_ns)
        for number, file in enumerate(files):
            shutil.copy(file, folder / f"events.out.tfevents.{number:04}")
        board = EventAccumulator(str(folder)).Reload()
        tags = board.Tags()["scalars"]
        return {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in tags}

    return read


@pytest.fixture(scope="session")
def wait_for():
    """wait_for(condition) returns its first true value, or fails after a long while."""

    def wait(condition, what: str = ""):
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            if value := condition():
                return value
            time.sleep(0.01)
        pytest.fail(f"waited {WAIT_S} s in vain for {what or condition}")

    return wait


@pytest.fixture
def worker():
    """A worker of this test's own, not the process's."""
    worker = Worker("cpu")
    yield worker
    assert worker.close(), "a thread did not end"


@pytest.fixture
def at_step(monkeypatch):
    """at_step("a", 2, action) calls action in the training thread after run a's second step."""
    actions, thread = {}, threading.local()
    train, step = session.train, loop.train_step

    def note_name(writer, *args, **options):
        thread.name = writer.run.name
        return train(writer, *args, **options)

    def step_and_act(*args):
        metrics = step(*args)
        actions.pop((thread.name, metrics.step), lambda: None)()
        return metrics

    monkeypatch.setattr(session, "train", note_name)
    monkeypatch.setattr(loop, "train_step", step_and_act)
    return lambda name, number, action: actions.__setitem__((name, number), action)


@pytest.fixture
def make_run(tmp_path, tiny):
    """make_run("a") is a new queued run under tmp_path."""

    def make(name: str = "a", config: RunConfig | None = None) -> Run:
        return runs.create(tmp_path, name, config or tiny())

    return make


@pytest.fixture(scope="session")
def train_run():
    """train_run(run) trains a run in this thread, as train.py does, and returns its last state."""

    def train(run: Run, **options) -> State:
        prepared = prepare(run.config(), run.path.parent, run)
        with run.hold("test") as writer:
            writer.begin((State.QUEUED, *RESUMABLE))
            return session.run_training(writer, prepared, **options)

    return train


@pytest.fixture(scope="session")
def command_config():
    """command_config(words): the RunConfig that train.py makes of its arguments."""

    def parse(words) -> RunConfig:
        with mock.patch.object(train, "train", return_value=0) as called:
            train.main(list(words))
        _args, config, _given, _group = called.call_args.args
        return config

    return parse
