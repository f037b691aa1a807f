"""A fused dense block computes what one that concatenates its maps does."""

import copy
import gc
import weakref

import pytest
import torch
from torch import nn

from engine.models.densenet import DenseBlock, DenseLayer
from engine.models.layers import Layers
from tests.engine.fast.comparison import (
    ACTIVATIONS,
    THROUGH_CONVOLUTIONS,
    distance,
    fuse,
    images,
    with_noise,
)

pytest.importorskip("numba", reason="numba is installed on x86 only")
pytestmark = pytest.mark.usefixtures("one_thread", "on_any_cpu")


def dense_block(depth=3, activation="gelu", norm=nn.BatchNorm2d):
    """From 5 channels to 5 + 4 · depth; GELU is smooth: rounding moves no value across a kink."""
    torch.manual_seed(1)
    layers = Layers(lambda: copy.deepcopy(ACTIVATIONS[activation]), norm, width=1)
    block = DenseBlock(*[DenseLayer(layers, 5 + i * 4, 4) for i in range(depth)])
    for layer in block:
        with_noise(layer.body[0])
        with_noise(layer.body[3])
    return block


@pytest.fixture
def joined(monkeypatch):
    """An entry for each concatenation of maps."""
    made, cat = [], torch.cat
    monkeypatch.setattr(torch, "cat", lambda *a, **k: made.append(1) or cat(*a, **k))
    return made


def gradients(block, x):
    """[output, gradients of x and all parameters, None where there is none; buffers]: twice."""
    with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype is torch.bfloat16):
        y = block(x)
    grad, found = images(*y.shape, seed=3).to(y.dtype), []
    for _ in range(2):  # the second is added to the first
        y.backward(grad, retain_graph=True)
        slopes = [t.grad if t.grad is None else t.grad.clone() for t in (x, *block.parameters())]
        found += [y, *slopes, *block.buffers()]
    return found


def check(block, x):
    """Assert that each tensor is as near to fp64 fused as it is in bf16 without fusion."""
    usual = copy.deepcopy(block)
    ways = (copy.deepcopy(block).double(), usual, fuse(copy.deepcopy(block)))
    values = (x.detach().double(), x.detach().clone(), x.detach().clone())
    found = [
        gradients(way, value.requires_grad_(x.requires_grad))
        for way, value in zip(ways, values, strict=True)
    ]
    for exact, plain, faster in zip(*found, strict=True):
        assert (exact is None) == (faster is None)
        if exact is not None and exact.any():
            assert distance(faster, exact) < max(THROUGH_CONVOLUTIONS, 1.5 * distance(plain, exact))


def trainable(*shape, **choices):
    return images(*shape, **choices).requires_grad_()


@pytest.mark.parametrize(
    ("name", "depth"),
    [
        *(pytest.param("relu", 4, marks=pytest.mark.slow), ("gelu", 1)),
        *(pytest.param("gelu", 4, marks=pytest.mark.slow), ("mish", 2)),
    ],
)
def test_a_dense_block(name, depth, fusions, joined):
    check(dense_block(depth, name), trainable(32, 5, 8, 8))
    assert fusions == [name] * 2 * depth
    assert len(joined) == 2 * depth  # by those that are not fused


def test_maps_of_large_means(fusions):
    """Large means must not cost the gradient through the statistics its precision."""
    check(dense_block(), trainable(32, 5, 8, 8, mean=50.0))
    assert len(fusions) == 6


@pytest.mark.parametrize("frozen", ["x", "0.body.0", "1.body.2", "2.body"])
def test_frozen_parameters_and_inputs_without_gradient(frozen, fusions):
    block, x = dense_block(), images(32, 5, 8, 8)
    for name, parameter in block.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    check(block, x.requires_grad_(frozen != "x"))
    assert len(fusions) == 6


def test_where_statistics_are_not_those_of_the_batch_maps_are_joined(joined):
    check(dense_block(norm=lambda channels: nn.GroupNorm(1, channels)), trainable(32, 5, 8, 8))
    assert len(joined) == 9
    block = dense_block()
    block[1].eval()
    check(block, trainable(32, 5, 8, 8))
    assert len(joined) == 18


def test_inference_takes_the_running_statistics(fusions, joined):
    block, x = dense_block(), images(9, 5, 6, 6)
    block(images(9, 5, 6, 6, mean=1, seed=4).float())
    joined.clear()
    faster = fuse(copy.deepcopy(block)).eval()
    before = copy.deepcopy(list(faster.buffers()))
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            found = faster(x)
        assert not joined
        assert distance(found, block.eval()(x.float())) < THROUGH_CONVOLUTIONS
    assert all(torch.equal(a, b) for a, b in zip(before, faster.buffers(), strict=True))


def test_the_memory_of_a_step_is_free_after_it(fusions):
    """No reference cycle keeps the maps: they are freed without garbage collection."""
    block = fuse(dense_block())
    x = images(9, 5, 6, 6).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        y = block(x)
    maps = weakref.ref(y.grad_fn.maps)
    assert maps() is not None
    gc.disable()
    try:
        y.sum().backward()
        del y
        assert maps() is None
    finally:
        gc.enable()


def test_a_result_that_was_changed_in_place_is_noticed(fusions):
    with torch.autocast("cpu", torch.bfloat16):
        y = fuse(dense_block())(images(9, 5, 6, 6))
    y.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
