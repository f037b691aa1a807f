"""Where networks are fused, in whole networks and by any number of threads."""

import copy
import os
import subprocess
import sys
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.fast import accelerate
from engine.fast.fusion.layers import FusedBlock, FusedMaxPool, FusedSequential
from engine.models import build_model, whitening
from engine.training import compilation
from engine.training.records import Note
from tests.engine.fast.comparison import (
    BF16,
    both_ways,
    distance,
    images,
    with_noise,
)

pytest.importorskip("numba", reason="numba is installed on x86 only")
import numba

pytestmark = [pytest.mark.usefixtures("one_thread", "on_any_cpu"), pytest.mark.slow]


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two CPUs")
def test_the_number_of_threads_changes_nothing():
    module = with_noise(nn.Sequential(nn.BatchNorm2d(24), nn.GELU(), nn.MaxPool2d(2)))
    x, found = images(16, 24, 9, 9), []
    for count in (1, 2):
        torch.set_num_threads(count)
        found.append(both_ways(module, x)[1])
    torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_pytorch_keeps_its_number_of_threads():
    """numba's first loop in a process sets OpenMP's number of threads, which torch shares."""
    code = (
        "import torch\n"
        "from engine.device import Compute\n"
        "from engine.fast import accelerate\n"
        "from engine.models import build_model\n"
        "torch.cpu.get_capabilities = lambda: {'amx_bf16': True}\n"
        "model = build_model('vgg11', width=0.125)\n"
        "accelerate(model, Compute(torch.device('cpu'), 'bf16'), training=True)\n"
        "print(type(model.stages).__name__, torch.get_num_threads())\n"
    )
    run = [sys.executable, "-c", code]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    told = subprocess.run(run, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["FusedSequential", "1"], told.stderr


def test_several_threads_at_once():
    module = with_noise(nn.Sequential(nn.BatchNorm2d(24), nn.GELU(), nn.MaxPool2d(2)))
    x, expected, found = images(16, 24, 9, 9), both_ways(module, images(16, 24, 9, 9))[1], []

    def work():
        for _ in range(20):
            found.append(both_ways(module, x)[1])

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 60
    assert all(torch.equal(a, b) for each in found for a, b in zip(each, expected, strict=True))


@pytest.mark.parametrize("arch", ["resnet10", "densenet121", "vgg11", "speedrun", "resnet50"])
def test_gradients_through_a_whole_network_are_no_worse_than_bf16_makes_them(arch, fusions):
    """Every parameter's gradient in training is as near to fp32 as without fusion."""
    draw = torch.Generator().manual_seed(1)
    x, labels = torch.randn(32, 3, 32, 32, generator=draw), torch.arange(32) % 10
    plain = build_model(arch, activation="gelu", width=0.25)  # smooth: no kink to round across
    if layer := whitening.find(plain):
        layer.fit(x)
    plain_last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    last = accelerate(plain_last, BF16, training=False)
    faster = accelerate(copy.deepcopy(last), BF16, training=True)
    assert list(faster.state_dict()) == list(plain.state_dict())
    slopes = []
    for network, enabled in ((plain, False), (last, True), (faster, True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = F.cross_entropy(network(x).float(), labels)
        slopes.append(torch.autograd.grad(loss, list(network.parameters())))
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    assert len(fusions) >= norms > 0
    for (name, _), exact, usual, found in zip(plain.named_parameters(), *slopes, strict=True):
        if arch == "vgg11" and name.endswith("bias") and exact.norm() < 1e-4:
            continue  # of a convolution before a norm: zero, but for rounding
        assert distance(found, exact) < max(0.03, 1.5 * distance(usual, exact))


def classes(model):
    return {type(m) for m in model.modules()} & {FusedSequential, FusedBlock, FusedMaxPool}


@pytest.mark.parametrize(
    ("compiles", "precision", "expected"),
    [
        (False, "bf16", {FusedSequential, FusedBlock}),
        (True, "bf16", set()),
        (False, "fp32", set()),
    ],
)
def test_where_it_is_used(compiles, precision, expected, make_trainer, tiny):
    """Not with torch.compile, which fuses itself, and not in fp32."""
    config = tiny(precision=precision, compile=compiles, **{"model.arch": "resnet10"})
    assert classes(make_trainer(None, config).model) == expected


def test_a_run_that_could_not_be_compiled_is_fused_after_all(make_trainer, tiny, monkeypatch):
    monkeypatch.setattr(compilation, "attempt", lambda model, *_: (model, "no compiler"))
    config = tiny(precision="bf16", compile=True, **{"model.arch": "resnet10"})
    trainer = make_trainer(None, config)
    notes = [record.text for record in trainer.fit() if isinstance(record, Note)]
    assert notes == ["no compiler"]
    assert classes(trainer.model) == {FusedSequential, FusedBlock}


def test_without_numba_a_warning_says_that_nothing_is_fused(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "engine.fast.fusion.kernels", None)  # refuses its import
    model = accelerate(build_model("resnet10", width=0.125), BF16, training=True)
    assert classes(model) == set()
    assert any(type(m) is not nn.Conv2d for m in model.modules() if isinstance(m, nn.Conv2d))
    (message,) = caplog.messages
    assert message.startswith("layers are not fused, training is slower: import of engine.fast.")


def test_a_cpu_without_bf16_instructions_is_left_alone(cpu):
    cpu(amx=False, avx512_bf16=False)
    assert classes(accelerate(build_model("resnet10", width=0.125), BF16, training=True)) == set()


def test_inference_is_not_fused():
    assert classes(accelerate(build_model("resnet10", width=0.125), BF16, training=False)) == set()
