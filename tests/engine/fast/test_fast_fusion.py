"""Fused norms, additions, activations and pooling compute what PyTorch's layers do."""

import copy
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from engine.fast import accelerate
from engine.fast.fusion.activations import IDENTITY
from engine.fast.fusion.arrays import as_rows
from engine.fast.fusion.layers import FusedBlock, FusedMaxPool, FusedSequential
from engine.fast.fusion.norm_act import fork, norm_act
from engine.models import build_model, whitening
from engine.models.resnet import Block
from engine.training import compilation
from engine.training.records import Note
from tests.engine.fast.comparison import (
    ACTIVATIONS,
    BF16,
    THROUGH_CONVOLUTIONS,
    TOLERANCE,
    both_ways,
    check,
    distance,
    fuse,
    images,
    with_noise,
)

pytest.importorskip("numba", reason="numba is installed on x86 only")
import numba

from engine.fast.fusion import kernels

pytestmark = pytest.mark.usefixtures("one_thread", "on_any_cpu")


@pytest.mark.parametrize(
    "shape", [(5, 3, 7, 5), (4, 1, 3, 5), (8, 64, 4, 4), (1, 300, 3, 3), (16, 8, 9, 9)]
)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_norm_and_the_activation_behind_it(name, shape, fusions):
    check(with_noise(nn.Sequential(nn.BatchNorm2d(shape[1]), ACTIVATIONS[name])), images(*shape))
    assert fusions == [name]


@pytest.mark.parametrize("mean", [-3.0, 50.0])
def test_statistics_of_large_means(mean, fusions):
    """Plain sums of squares would cancel."""
    check(with_noise(nn.Sequential(nn.BatchNorm2d(6))), images(64, 6, 9, 9, mean=mean))
    assert fusions == ["identity"]


def test_a_residual_block_in_inference(fusions):
    block = next(m for m in build_model("resnet10", width=0.125).modules() if isinstance(m, Block))
    block = with_noise(block)
    with torch.no_grad():
        block(images(9, 8, 6, 6, seed=4).float())  # statistics
        expected = block.eval()(images(9, 8, 6, 6).float())
        with torch.autocast("cpu", torch.bfloat16):
            found = fuse(block)(images(9, 8, 6, 6))
    assert distance(found, expected) < TOLERANCE
    assert fusions == ["relu", "relu"]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_alone(name, fusions):
    """Those with an exponential are fused; PyTorch's others are as fast."""
    check(nn.Sequential(ACTIVATIONS[name]), 3 * images(5, 7, 4, 4))
    assert fusions == [name] * (name not in ("relu", "leaky_relu"))


def test_celu_of_one_is_elu_and_others_are_pytorchs(fusions):
    for module in (nn.CELU(), nn.CELU(2.0), nn.ELU(0.5), nn.LeakyReLU(0.2), nn.GELU("tanh")):
        check(nn.Sequential(module), images(5, 7, 4, 4))
    assert fusions == ["elu"]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("projects", [False, True])
def test_a_residual_block(name, projects, fusions):
    """Final norm, addition of the shortcut and activation are fused."""
    layers = build_model("resnet10", activation=name, width=0.125)
    block = [m for m in layers.modules() if isinstance(m, Block)][projects]
    assert isinstance(block.shortcut, nn.Sequential) == projects
    check(with_noise(block), images(9, 8, 6, 6), tolerance=THROUGH_CONVOLUTIONS)
    assert fusions == [name, *["identity"] * projects, name]


def test_loops_are_compiled_for_whole_vectors():
    """numba's default, 256 bits, is slower in loops with an exponential."""
    *_, features = kernels.moments.targetctx.codegen().magic_tuple()
    assert "-prefer-256-bit" in features


def test_a_result_that_was_changed_in_place_goes_two_ways_as_any_other():
    x = images(9, 8, 6, 6).requires_grad_()
    y = fuse(with_noise(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())))(x)
    first, second = fork(y)
    assert first is y and second is not y
    F.leaky_relu_(y, 0.2)
    assert fork(y) == (y, y)
    with torch.inference_mode():
        z = fuse(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()))(images(9, 8, 6, 6))
        first, second = fork(z)
    assert first is second is z


class Sums(TorchDispatchMode):
    """Counts additions of two tensors of this shape."""

    def __init__(self, shape):
        super().__init__()
        self.shape, self.count = shape, 0

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator in (torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor):
            self.count += [getattr(a, "shape", None) for a in args] == [self.shape] * 2
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["gelu", "mish"])  # smooth: no kink to round across
def test_the_two_gradients_of_a_block_output_are_added_in_the_loop(name, fusions):
    layers = build_model("resnet18", activation=name, width=0.125)
    first, *_ = [m for m in layers.modules() if isinstance(m, Block)]
    begin = nn.Sequential(nn.BatchNorm2d(8), copy.deepcopy(ACTIVATIONS[name]))
    blocks = nn.Sequential(with_noise(begin), first, copy.deepcopy(first))
    x = images(9, 8, 6, 6)
    check(blocks, x, tolerance=2 * THROUGH_CONVOLUTIONS)
    assert fusions == [name] * 5

    with torch.autocast("cpu", torch.bfloat16):
        y = fuse(blocks)(x.requires_grad_())
    with Sums(x.shape) as sums:
        y.sum().backward()
    assert sums.count == 1  # behind the first norm, where no block was before


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("mean", [0.0, 50.0])
def test_statistics_of_each_image(groups, mean, fusions):
    for norm in (nn.GroupNorm(groups, 6), nn.InstanceNorm2d(6, affine=True)):
        check(with_noise(nn.Sequential(norm)), images(5, 6, 4, 9, mean=mean))
        check(with_noise(nn.Sequential(norm, nn.GELU())), images(5, 6, 3, 3, mean=mean))
        check(with_noise(nn.Sequential(norm, nn.ReLU())), images(20, 6, 8, 8, mean=mean))
    assert fusions == ["identity", "gelu", "relu"] * 2


@pytest.mark.parametrize("norm", ["group", "layer", "instance"])
def test_a_residual_block_of_other_norms(norm, fusions):
    layers = build_model("resnet10", activation="gelu", norm=norm, width=0.125)
    block = with_noise(next(m for m in layers.modules() if isinstance(m, Block)))
    check(block, images(4, 8, 6, 6), tolerance=THROUGH_CONVOLUTIONS)
    assert fusions == ["gelu", "gelu"]


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(4, affine=False),
        nn.BatchNorm2d(4, track_running_stats=False),
        nn.BatchNorm2d(4, momentum=None),
    ],
)
def test_unusual_batch_norms_are_pytorchs(norm, fusions):
    check(nn.Sequential(norm, nn.ReLU()), images(4, 4, 5, 5))
    assert fusions == []


@pytest.mark.parametrize("choice", [{}, {"affine": True, "track_running_stats": True}])
def test_unusual_instance_norms_are_pytorchs(choice, fusions):
    exact, faster = both_ways(nn.Sequential(nn.InstanceNorm2d(4, **choice)), images(4, 4, 5, 5))
    assert distance(faster[0], exact[0]) < TOLERANCE
    assert fusions == []


def test_one_value_a_channel_is_refused_as_ever():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        fuse(nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))(images(1, 4, 1, 1))


def test_inference_takes_the_running_statistics(fusions):
    module = with_noise(nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    module(images(8, 4, 5, 5, mean=1).float())
    x = images(3, 4, 5, 5)
    faster = fuse(copy.deepcopy(module)).eval()
    before = copy.deepcopy(list(faster.buffers()))
    with torch.inference_mode():
        assert distance(faster(x), module.eval()(x.float())) < TOLERANCE
    assert fusions == ["relu"]
    assert all(torch.equal(a, b) for a, b in zip(before, faster.buffers(), strict=True))
    x.requires_grad_()
    (slope,) = torch.autograd.grad(faster(x).sum(), x)
    (expected,) = torch.autograd.grad(module(x.float()).sum(), x)
    assert distance(slope, expected) < TOLERANCE
    assert fusions == ["relu"]  # with a gradient it is PyTorch's


@pytest.mark.parametrize("shape", [(3, 5, 8, 8), (2, 40, 7, 9), (2, 3, 2, 3)])
def test_max_pooling(shape, pools):
    x = images(*shape).round()  # whole numbers: many of them are equal
    exact, faster = both_ways(nn.MaxPool2d(2), x)
    assert all(torch.equal(a.double(), b) for a, b in zip(faster, exact, strict=True))
    assert len(pools) == 1


def test_other_pools_are_pytorchs(pools):
    for pool in (nn.MaxPool2d(3), nn.MaxPool2d(2, 1), nn.MaxPool2d(2, ceil_mode=True)):
        exact, faster = both_ways(pool, images(2, 3, 5, 5))
        assert torch.equal(faster[0].double(), exact[0])
    x = images(2, 3, 5, 5).float()
    assert torch.equal(fuse(nn.MaxPool2d(2))(x), F.max_pool2d(x, 2))
    assert pools == []


NAN = -torch.tensor(float("nan"))  # as processors make it: with a sign


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays_nan(name):
    """Otherwise a training that diverges would go unnoticed."""
    x = images(2, 3, 4, 4)
    x[1, 2, 3, 3] = NAN
    y = fuse(nn.Sequential(nn.BatchNorm2d(3), ACTIVATIONS[name]))(x)
    assert y[:, 2].isnan().all() and not y[:, :2].isnan().any()
    alone = fuse(nn.Sequential(ACTIVATIONS[name]))(x)
    assert alone.isnan().nonzero().tolist() == [[1, 2, 3, 3]]
    shortcut = norm_act(nn.BatchNorm2d(3), ACTIVATIONS[name], images(2, 3, 4, 4), x)
    assert shortcut.isnan().nonzero().tolist() == [[1, 2, 3, 3]]


@pytest.mark.parametrize("place", range(4))
def test_max_pooling_propagates_nan(place):
    x = images(2, 3, 4, 4)
    x[1, 2, 2 + place // 2, place % 2] = NAN
    assert fuse(nn.MaxPool2d(2))(x).isnan().nonzero().tolist() == [[1, 2, 1, 0]]


def test_rounding_is_to_the_nearest_even():
    bits = np.arange(2**16, dtype=np.uint32) << 16
    near = np.concatenate([bits + low for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF)])
    values = torch.from_numpy(near.view(np.float32).copy())
    values = values[~values.isnan()]
    rows = values.view(1, -1, 1, 1).contiguous(memory_format=torch.channels_last)
    expected = rows.bfloat16()
    out = torch.empty_like(expected)
    zeros, none = np.zeros_like(values.numpy()), as_rows(torch.zeros_like(expected))
    loop = kernels.norm_gradient(IDENTITY)
    loop(
        none,
        none,
        as_rows(out),
        zeros[None],
        zeros[None],
        zeros[None],
        values.numpy()[None],
    )
    assert torch.equal(out, expected)


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


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (4, 7, 1, 1)])
def test_images_and_gradients_of_any_layout(shape, fusions):
    """An input that is not channels_last, and an expanded gradient."""
    plain = with_noise(nn.Sequential(nn.BatchNorm2d(shape[1]), nn.GELU()))
    plain = nn.Sequential(plain, nn.MaxPool2d(2)) if shape[2] > 1 else plain
    x, found = images(*shape).contiguous(), []
    for network in (copy.deepcopy(plain).double(), fuse(plain)):
        inputs = (x if network is plain else x.double()).requires_grad_()
        y = network(inputs)
        for _ in range(2):  # what was saved is still there at the second time
            slopes = torch.autograd.grad(y.sum(), inputs, retain_graph=True)
        found.append([y, *slopes])
    assert distance(found[1][0], found[0][0]) < TOLERANCE
    assert (found[1][1] - found[0][1]).abs().max() < 0.05  # these gradients nearly cancel
    assert fusions == ["gelu"]


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
