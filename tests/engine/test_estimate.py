"""How long a training will take: the measured rate, where it is kept, and the sum."""

import itertools
import json

import pytest
import torch

from engine import estimate
from engine.device import resolve
from engine.models import build_model
from engine.models.summary import summarize

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs" / ".throughput.json"


@pytest.fixture
def cpu():
    return resolve("cpu", "fp32")


def test_an_epoch_is_its_training_and_a_third_of_the_cost_for_every_validation_image():
    seconds = estimate.epoch_seconds(2e6, 1e9, train_images=3_000, val_images=600)
    assert seconds == pytest.approx((3_000 * 2e6 + 600 * 2e6 / 3) / 1e9)
    assert estimate.epoch_seconds(2e6, 1e9, 0, 0) == 0
    assert estimate.epoch_seconds(4e6, 2e9, 3_000, 600) == pytest.approx(seconds)


def test_the_rate_is_the_probe_s_work_over_its_best_time(cpu, monkeypatch):
    ticks = itertools.accumulate([0, 9, 1, 2, 1, 3, 1, 2], initial=100)  # steps of 9, 2, 3, 2 s
    next(ticks)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: float(next(ticks)))
    monkeypatch.setattr(estimate, "PROBE_BATCH", 2)
    probe = build_model(estimate.PROBE.arch, 10, width=estimate.PROBE.width)
    macs = summarize(probe, batch_size=1).macs
    assert estimate.measure_rate(cpu) == pytest.approx(2 * macs / 2.0)


def test_measuring_leaves_the_global_random_state_as_it_was(cpu, monkeypatch):
    monkeypatch.setattr(estimate, "PROBE_BATCH", 2)
    before = torch.get_rng_state()
    assert estimate.measure_rate(cpu) > 0
    assert torch.equal(torch.get_rng_state(), before)


def test_a_stored_rate_is_found_again(path, cpu):
    assert estimate.load_rate(path, cpu) is None
    estimate.store_rate(path, cpu, 1.5e9)
    assert estimate.load_rate(path, cpu) == 1.5e9
    estimate.store_rate(path, cpu, 2.5e9)
    assert estimate.load_rate(path, cpu) == 2.5e9
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_every_device_precision_version_and_thread_count_has_its_own(path, cpu, monkeypatch):
    estimate.store_rate(path, cpu, 1e9)
    half = resolve("cpu", "bf16")
    assert estimate.load_rate(path, half) is None
    estimate.store_rate(path, half, 2e9)
    assert estimate.load_rate(path, cpu) == 1e9
    assert estimate.load_rate(path, half) == 2e9
    with monkeypatch.context() as later:
        later.setattr(torch, "__version__", "9.0")
        assert estimate.load_rate(path, cpu) is None
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    assert estimate.load_rate(path, cpu) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"[1, 2]", b'"x"', b"7", b"\xff\xfe", b"[" * 100_000],
    ids=["empty", "torn", "null", "list", "text", "number", "binary", "deep"],
)
def test_a_damaged_file_is_ignored_and_replaced(path, cpu, content):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    assert estimate.load_rate(path, cpu) is None
    estimate.store_rate(path, cpu, 1e9)
    assert estimate.load_rate(path, cpu) == 1e9


@pytest.mark.parametrize("rate", ["fast", None, [], 0.0, -1.0, float("nan"), float("inf"), True])
def test_a_rate_that_cannot_be_one_is_measured_again(path, cpu, rate):
    other = resolve("cpu", "bf16")
    for compute in (cpu, other):
        estimate.store_rate(path, compute, 1e9)
    stored = json.loads(path.read_text())
    damaged = next(iter(stored))
    path.write_text(json.dumps(stored | {damaged: rate}))
    assert estimate.load_rate(path, cpu) is None
    assert estimate.load_rate(path, other) == 1e9, "the others are still good"


def test_a_folder_in_the_file_s_place_is_no_rate(path, cpu):
    path.mkdir(parents=True)
    assert estimate.load_rate(path, cpu) is None
