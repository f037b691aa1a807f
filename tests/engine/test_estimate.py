"""How long a training will take: the measured speed, where it is kept, and the sum."""

import contextlib
import itertools
import json
import math
from types import SimpleNamespace

import pytest
import torch

from engine import estimate
from engine.config import RunConfig, with_fields
from engine.device import resolve
from engine.estimate import Costs, Speed
from engine.models import ARCHITECTURES, build_model, build_on_meta
from engine.models.summary import summarize
from engine.training import progressive

ONE = Speed(1e-9, 0.0, 0.0)
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / ".throughput.json"


@pytest.fixture
def cpu():
    return resolve("cpu", "fp32")


def test_an_epoch_is_its_training_and_a_third_of_the_cost_for_every_validation_image():
    network, speed = Costs(2e6, 3e6, 10), Speed(1e-9, 2e-9, 1e-3)
    image = 2e6 * 1e-9 + 3e6 * 2e-9
    config = with_fields(RunConfig(), {"batch_size": 128})
    seconds = estimate.epoch_seconds(config, network, speed, train_images=3_000, val_images=600)
    assert seconds == pytest.approx(3_200 * image + 24 * 10 * 1e-3)
    small_first = with_fields(config, {"progressive": True})
    seconds = estimate.epoch_seconds(small_first, network, speed, 3_000, 600)
    assert seconds == pytest.approx((3_000 * progressive.cost() + 200) * image + 24 * 10 * 1e-3)


def test_the_costs_of_a_network():
    summary = summarize(build_on_meta("vgg11"), 128)
    found = estimate.costs(build_on_meta("vgg11"))
    assert found.macs == summary.macs
    assert found.bytes == pytest.approx(summary.activation_bytes / 128)
    assert found.layers == len(summary.layers)


@pytest.mark.parametrize(
    "arch",
    [name if name in ("vgg11", "speedrun") else pytest.param(name, marks=pytest.mark.slow)
     for name in ARCHITECTURES],
)  # fmt: skip
def test_the_costs_in_the_file_are_those_of_the_networks(arch):
    """After a change to a network, run scripts/write_costs.py."""
    assert list(estimate.architecture_costs()) == list(ARCHITECTURES)
    parameters, costs = estimate.architecture_costs()[arch]
    network = build_on_meta(arch)
    assert parameters == sum(p.numel() for p in network.parameters())
    assert costs == estimate.costs(network)


def test_what_training_a_network_takes():
    config = with_fields(RunConfig(), {"model.arch": "vgg11"}).model
    summary = summarize(build_on_meta("vgg11"), 32)
    found = estimate.requirements(config, 32)
    assert found.parameters == summary.parameters
    assert found.bytes == summary.activation_bytes + 12 * summary.parameters
    assert found.costs == estimate.costs(build_on_meta("vgg11"))


TRUE = Speed(3e-12, 4e-10, 5e-4)


@pytest.fixture
def machine(monkeypatch):
    """A machine of known speed, on which the probes take the time that they have to."""

    def seconds(model, batch_size, compute):
        costs = estimate.costs(model)
        image = costs.macs * TRUE.macs + costs.bytes * TRUE.bytes
        return batch_size * image + costs.layers * TRUE.layers

    monkeypatch.setattr(estimate, "step_seconds", seconds)


def test_the_speed_is_told_from_the_probes_times(cpu, machine):
    assert estimate.measure_speed(cpu) == pytest.approx(TRUE)


def test_the_probes_run_as_a_training_does_beside_others(cpu, machine, monkeypatch):
    calls, step_seconds = [], estimate.step_seconds

    @contextlib.contextmanager
    def relief(wanted):
        yield SimpleNamespace(settle=lambda: calls.append(wanted))
        calls.append("end")

    def note(*arguments):
        calls.append("probe")
        return step_seconds(*arguments)

    monkeypatch.setattr(estimate.contention, "relief", relief)
    monkeypatch.setattr(estimate, "step_seconds", note)
    estimate.measure_speed(cpu)
    assert calls == [True, "probe", "probe", "probe", "end"]


def test_impossible_times_give_no_negative_speed(cpu, monkeypatch):
    """As when something else took the cores during one of the probes."""
    for times in ([9.0, 1.0, 1.0], [1.0, 9.0, 1.0], [1e-9, 1.0, 99.0], [1.0, 1.0, 1.0]):
        given = iter(times)
        monkeypatch.setattr(estimate, "step_seconds", lambda *_, given=given: next(given))
        speed = estimate.measure_speed(cpu)
        assert min(speed) >= 0
        assert max(speed) > 0


def test_a_probe_takes_its_best_time(cpu, monkeypatch):
    ticks = itertools.accumulate([0, 2, 1, 3, 1, 2.5], initial=100)  # steps of 2, 3 and 2.5 s
    next(ticks)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: float(next(ticks)))
    assert estimate.step_seconds(build_model("vgg11", width=0.125), 2, cpu) == 2


def test_measuring_leaves_the_global_random_state_as_it_was(cpu, monkeypatch):
    monkeypatch.setattr(estimate, "PROBE_BATCH", 8)
    before = torch.get_rng_state()
    assert max(estimate.measure_speed(cpu)) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stored_speed_is_found_again(path, cpu):
    assert estimate.load_speed(path, cpu) is None
    for speed in (Speed(1e-12, 2e-10, 0.0), Speed(2e-12, 0.0, 1e-3)):
        estimate.store_speed(path, cpu, speed)
        assert estimate.load_speed(path, cpu) == speed
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_every_device_precision_version_and_thread_count_has_its_own(path, cpu, monkeypatch):
    estimate.store_speed(path, cpu, ONE)
    half = resolve("cpu", "bf16")
    assert estimate.load_speed(path, half) is None
    estimate.store_speed(path, half, TRUE)
    assert estimate.load_speed(path, cpu) == ONE
    assert estimate.load_speed(path, half) == TRUE
    with monkeypatch.context() as later:
        later.setattr(torch, "__version__", "9.0")
        assert estimate.load_speed(path, cpu) is None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert estimate.load_speed(path, cpu) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[1, 2]", b'"x"', b"7", b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "torn", "null", "list", "text", "number", "binary", "deep"],
)
def test_a_damaged_file_is_ignored_and_replaced(path, cpu, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert estimate.load_speed(path, cpu) is None
    estimate.store_speed(path, cpu, ONE)
    assert estimate.load_speed(path, cpu) == ONE


NOT_SPEEDS = ["fast", None, [], 1.5e9, [0.0] * 3, [-1.0, 1.0, 1.0], [1.0, math.nan, 1.0]]
NOT_SPEEDS += [[1.0, math.inf, 1.0], [True] * 3, [1.0, 1.0], [1.0, 1.0, "1"]]


@pytest.mark.parametrize("speed", NOT_SPEEDS)
def test_a_speed_that_cannot_be_one_is_measured_again(path, cpu, speed):
    other = resolve("cpu", "bf16")
    for compute in (cpu, other):
        estimate.store_speed(path, compute, ONE)
    stored = json.loads(path.read_text())
    damaged = next(iter(stored))
    path.write_text(json.dumps(stored | {damaged: speed}))
    assert estimate.load_speed(path, cpu) is None
    assert estimate.load_speed(path, other) == ONE, "the others are still good"


def test_a_folder_in_the_file_s_place_is_no_speed(path, cpu):
    path.mkdir(parents=True)
    assert estimate.load_speed(path, cpu) is None
