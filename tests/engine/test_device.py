"""Device and precision: what "auto" becomes, and refusals that name the setting."""

import contextlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.device import Compute, resolve, set_cudnn_deterministic
from engine.errors import ConfigError


@pytest.fixture
def machine(monkeypatch):
    """machine(cuda=2, mps=False, bf16=True) is a computer with these devices."""

    def build(cuda: int = 0, mps: bool = False, bf16: bool = False, amx: bool = False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        # bf16 is that of the first device; the others are older
        newer = lambda device: (8 if bf16 and device.index == 0 else 7, 5)  # noqa: E731
        monkeypatch.setattr(torch.cuda, "get_device_capability", newer)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": amx})

    return build


@pytest.mark.parametrize(
    ("has", "device", "precision"),
    [
        ({"cuda": 1, "bf16": True}, "cuda:0", "bf16"),
        ({"cuda": 1}, "cuda:0", "fp16"),
        ({"cuda": 1, "mps": True}, "cuda:0", "fp16"),
        ({"mps": True, "amx": True}, "mps", "fp32"),
        ({"amx": True}, "cpu", "bf16"),
        ({}, "cpu", "fp32"),
    ],
    ids=str,
)
def test_auto_takes_the_fastest_that_is_there(machine, has, device, precision):
    machine(**has)
    compute = resolve()
    assert (str(compute.device), compute.precision) == (device, precision)


def test_each_gpu_takes_the_precision_that_it_is_fast_in(machine):
    machine(cuda=2, bf16=True)
    assert [resolve(f"cuda:{index}").precision for index in (0, 1)] == ["bf16", "fp16"]


@pytest.mark.parametrize(
    ("given_name", "resolved"),
    [("cpu", "cpu"), ("cpu:0", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("mps", "mps")],
)
def test_a_device_that_is_there_is_taken(machine, given_name, resolved):
    machine(cuda=2, mps=True)
    assert str(resolve(given_name, "fp32").device) == resolved


@pytest.mark.parametrize(
    "name", ["cuda", "cuda:0", "cuda:1", "mps", "tpu", "meta", "cuda:x", "CPU"]
)
def test_a_device_that_is_not_there_is_refused_by_name(machine, name):
    machine()
    with pytest.raises(ConfigError, match="cpu") as refusal:
        resolve(name)
    assert refusal.value.field == "device"


def test_a_cuda_number_past_the_last_is_refused_with_the_count(machine):
    machine(cuda=2)
    with pytest.raises(ConfigError, match="2 CUDA devices"):
        resolve("cuda:2")


@given(st.text(max_size=12))
def test_any_text_is_a_device_or_a_config_error(text):
    with contextlib.suppress(ConfigError):
        assert resolve(text, "fp32").device.type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_computes_channels_last_in_that_type(precision):
    compute = resolve("cpu", precision)
    assert compute.memory_format is torch.channels_last
    with compute.autocast():
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype is {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]


@pytest.mark.parametrize(
    ("kernels", "expected"), [(True, torch.channels_last), (False, torch.contiguous_format)]
)
def test_full_precision_is_laid_out_as_its_kernels_want_it(kernels, expected, monkeypatch):
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: kernels)
    compute = resolve("cpu", "fp32")
    assert compute.memory_format is expected
    assert Compute(torch.device("mps"), "fp32").memory_format is torch.contiguous_format
    with compute.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is torch.float32


@pytest.mark.parametrize(
    ("precision", "scales"), [("fp32", False), ("bf16", False), ("fp16", True)]
)
def test_only_fp16_scales_the_loss(precision, scales):
    assert resolve("cpu", precision).grad_scaler().is_enabled() is scales


def test_cudnn_is_made_deterministic_and_free_again(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    for enabled in (True, False):
        set_cudnn_deterministic(enabled)
        assert torch.backends.cudnn.deterministic is enabled


def test_the_description_of_the_machine_is_plain_json():
    described = Compute(torch.device("cpu"), "fp32").describe()
    assert json.loads(json.dumps(described)) == described
    assert described["device"] == "cpu"
    assert described["threads"] == torch.get_num_threads()
    assert described["torch"] == torch.__version__
