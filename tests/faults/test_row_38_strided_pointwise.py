"""Row 38 of docs/FAULTS.md: a strided 1×1 convolution corrupts memory on a CPU."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.device import Compute
from engine.fast import accelerate
from engine.models import ARCHITECTURES, build_on_meta
from engine.models.layers import Subsample
from scripts import sweep_convolutions

TRAIN = """
import torch
torch.set_num_threads(2)
from pathlib import Path
from engine import runs
from engine.config import RunConfig
from engine.runs.run import State
from engine.training import session
from engine.training.prepare import prepare
run = runs.create(Path(ROOT), "narrow", RunConfig.from_json(CONFIG))
with run.hold("test") as writer:
    writer.begin((State.QUEUED,))
    print(session.run_training(writer, prepare(run.config(), Path(ROOT), run)))
"""


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_row_38_no_architecture_has_a_strided_pointwise_convolution(arch):
    for name, module in build_on_meta(arch).named_modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            assert module.stride == (1, 1), f"{name}: put a Subsample before it"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_row_38_narrow_networks_train_on_odd_batches(precision, python, tiny, tmp_path):
    changes = {"model.arch": "resnet18", "model.width": 0.125, "data.limit": 35, "epochs": 3}
    config = tiny(**changes, batch_size=32, precision=precision)  # batches of 32 and 3
    child = python(TRAIN, CONFIG=config.to_json(), ROOT=str(tmp_path))
    assert child.wait() == 0, child.text
    assert "finished" in child.text


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("batch", [1, 3, 5])
@pytest.mark.parametrize("size", [9, 16])
def test_row_38_gradients_are_those_of_the_strided_convolution(precision, batch, size):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 8, size, size, generator=generator).bfloat16().float()
    layers = nn.Sequential(Subsample(2), nn.Conv2d(8, 16, 1, bias=False))
    weight = layers[1].weight
    weight.data = torch.randn(16, 8, 1, 1, generator=generator).bfloat16().float()
    exact = [t.detach().double().requires_grad_() for t in (x, weight)]
    out = F.conv2d(*exact, stride=2)
    grad = torch.randn(out.shape, generator=generator).bfloat16()
    expected = out, *torch.autograd.grad(out, exact, grad.double())

    compute = Compute(torch.device("cpu"), precision)
    layers = accelerate(layers.to(memory_format=torch.channels_last), compute, training=False)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    with compute.autocast():
        out = layers(x)
    out.backward(grad.to(out.dtype))
    tolerance = {"fp32": 1e-5, "bf16": 2e-2}[precision]
    for result, exact in zip((out, x.grad, weight.grad), expected, strict=True):
        assert (result - exact).norm() <= tolerance * exact.norm()


@pytest.mark.parametrize("noticed", [0, 3, "at exit"])
def test_row_38_the_sweep_finds_the_shape_that_a_later_one_died_of(monkeypatch, capsys, noticed):
    cases = [(sweep_convolutions.Shape(n, 8, 1, 2, 0, 1, 32), 3) for n in range(1, 21)]
    bad = cases[7]

    def run(chunk, precision, layers, *, heap_checks):
        good = [{"output": 0.0}] * len(chunk)
        if bad not in chunk:
            return good, 0
        at = len(chunk) if noticed == "at exit" else chunk.index(bad) + noticed
        return good[:at], -6 if at < len(chunk) or noticed == "at exit" else 0

    monkeypatch.setattr(sweep_convolutions, "run", run)
    assert sweep_convolutions.sweep(cases, "fp32", "plain") == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"CRASH fp32 batch 3 {bad[0]}: exit -6")
