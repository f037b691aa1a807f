"""Fused norms, additions, activations and pooling compute what PyTorch's layers do."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from engine.fast.fusion.activations import IDENTITY
from engine.fast.fusion.arrays import as_rows
from engine.fast.fusion.norm_act import fork, norm_act
from engine.models import build_model
from engine.models.resnet import Block
from tests.engine.fast.comparison import (
    ACTIVATIONS,
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

from engine.fast.fusion import kernels

pytestmark = pytest.mark.usefixtures("one_thread", "on_any_cpu")


@pytest.mark.slow
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


@pytest.mark.slow
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
