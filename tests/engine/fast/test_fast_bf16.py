"""The bf16 layers agree with PyTorch's, forward and backward, and apply where they should."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from engine.fast.conv import depthwise
from engine.models.layers import InstanceNorm2d
from tests.engine.fast.comparison import FASTER_BF16, distance, faster_layers

pytestmark = pytest.mark.usefixtures("one_thread", "amx")
TOLERANCE = 0.02  # ‖difference‖ / ‖expected‖ of a tensor; bf16 rounds by up to 2^-9


def gradients(layer, x, grad):
    x = x.clone().requires_grad_()
    y = layer(x)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], grad.to(y.dtype))]


def check_layer(layer, shape, mean=0):
    """`layer` after accelerate, in bf16, against itself before, in float64."""
    layer, draw = copy.deepcopy(layer), torch.Generator().manual_seed(1)
    x = mean + torch.randn(shape, generator=draw)
    x = x.bfloat16().contiguous(memory_format=torch.channels_last)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -1, 1, generator=draw)
        parameter.data = parameter.data.bfloat16().float()  # what bf16 sees
    exact = copy.deepcopy(layer).double()
    faster = faster_layers(nn.Sequential(layer).to(memory_format=torch.channels_last))
    assert type(faster[0]) in FASTER_BF16
    grad = torch.randn(exact(x.double()).shape, generator=draw).bfloat16()
    grad = grad.contiguous(memory_format=torch.channels_last)
    expected = gradients(exact, x.double(), grad.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(faster, x, grad)
    assert found[0].dtype is torch.bfloat16
    assert found[0].is_contiguous(memory_format=torch.channels_last)
    assert found[1].is_contiguous(memory_format=torch.channels_last)
    for result, value in zip(found, expected, strict=True):
        assert result.shape == value.shape
        assert distance(result, value) < TOLERANCE


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 7, 8])
def test_convolutions_to_small_maps(stride, bias, side, chosen, amx):
    for odd in range(stride):  # maps that a stride of 2 does not halve evenly, too
        shape = (12, 128, side * stride - odd, side)
        check_layer(nn.Conv2d(128, 130, 3, stride, 1, bias=bias), shape)
    if amx:
        assert chosen == ["side_by_side"] * stride
    else:
        assert chosen == ["im2col"] * stride * (side <= 4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("bias", [False, True])
def test_pointwise_convolutions(stride, bias, chosen, amx):
    check_layer(nn.Conv2d(6, 10, 1, stride, bias=bias), (3, 6, 7, 8))
    assert chosen == ["pointwise"] * amx


@pytest.mark.parametrize("amx", [True], indirect=True)
@pytest.mark.parametrize(("side", "parts"), [(32, [8]), (31, []), (33, [])])
@pytest.mark.parametrize("frozen", ["", "weight", "bias"])
def test_the_weight_gradient_of_very_many_positions_is_computed_in_parts(side, parts, frozen):
    """With fewer positions, or a number not divisible by PARTS, it is one product."""
    layer, shape = nn.Conv2d(6, 10, 1), (17 if side == 33 else 16, 6, side, side)
    check_layer(layer, shape)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name != frozen)
    layer = faster_layers(nn.Sequential(layer))
    x = torch.randn(shape).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16), Calls() as calls:
        layer(x).sum().backward()
    made = [len(a[0]) for operator, a in calls.made if operator is torch.ops.aten.bmm.default]
    assert made == (parts if frozen != "weight" else [])


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("kernel", "padding"), [(3, 1), (9, 4), ((1, 5), (0, 2)), (3, "same")])
def test_depthwise_convolutions(kernel, padding, bias, chosen):
    images = depthwise.IMAGES + 1
    check_layer(nn.Conv2d(6, 6, kernel, 1, padding, groups=6, bias=bias), (images, 6, 5, 8))
    assert chosen == ["depthwise"]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(64, 32, 3, padding=1, groups=32, bias=False),
        nn.Conv2d(48, 96, 3, 2, 1, groups=12),
        nn.Conv2d(32, 32, 1, groups=4),
        nn.Conv2d(8, 16, 3, padding=1, groups=8),  # two filters a channel
    ],
)
def test_grouped_convolutions(layer, chosen, amx):
    check_layer(layer, (3, layer.in_channels, 6, 5))
    assert chosen == ["grouped"] * amx


@pytest.mark.parametrize(
    ("layer", "images", "side"),
    [
        (nn.Conv2d(128, 128, 3, padding=1), 4, 9),  # a large map
        (nn.Conv2d(8, 8, 3, padding=1), 4, 4),  # few channels
        (nn.Conv2d(128, 128, 1, padding=1), 4, 4),
        (nn.Conv2d(128, 128, 3), 4, 4),
        (nn.Conv2d(128, 128, 3, padding=2, dilation=2), 4, 4),
        (nn.Conv2d(128, 128, 3, padding=1, groups=2), 4, 4),
    ],
)
def test_other_convolutions_are_pytorchs(layer, images, side, chosen):
    check_layer(layer, (images, layer.in_channels, side, side))
    assert chosen == []


def test_images_that_do_not_fill_a_row_are_not_joined(chosen):
    check_layer(nn.Conv2d(128, 128, 3, padding=1), (5, 128, 4, 4))
    assert chosen == ["im2col"]


@pytest.mark.parametrize("kernel", [2, 3])
def test_other_depthwise_convolutions_are_merged(kernel, chosen, amx):
    """Of even kernels, or without padding."""
    check_layer(nn.Conv2d(8, 8, kernel, groups=8), (3, 8, 5, 5))
    assert chosen == ["grouped"] * amx


class Calls(TorchDispatchMode):
    """The operators that are called while it is on, in order, with their arguments."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.made.append((operator, args))
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("amx", [True], indirect=True)
def test_a_stride_makes_no_product_for_each_row():
    """Row by row, linear would copy the weight each time, in inference and with frozen weights."""
    layer = faster_layers(nn.Sequential(nn.Conv2d(6, 10, 1, 2)))
    x = torch.randn(4, 6, 8, 8).contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), Calls() as calls:
        assert layer(x).shape == (4, 10, 4, 4)
    made = {operator for operator, _ in calls.made}
    assert torch.ops.aten.addmm.default in made
    assert torch.ops.aten.bmm.default not in made


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(128, 128, 3, padding=1, bias=False),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
    ],
)
def test_gradients_that_are_not_needed_are_not_computed(layer, chosen):
    """In a first layer, whose input needs no gradient, and in a frozen one."""
    layer = faster_layers(nn.Sequential(copy.deepcopy(layer)))[0]
    x = torch.randn(4, layer.in_channels, 4, 4, generator=torch.Generator().manual_seed(1))
    grad = torch.ones_like(x).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        _, grad_x, grad_weight = gradients(layer, x, grad)
        y = layer(x)
        with Calls() as of_weight:
            y.backward(grad)
        layer.requires_grad_(False)
        x.requires_grad_()
        z = layer(x)
        with Calls() as of_x:
            z.backward(grad)
    assert torch.equal(layer.weight.grad, grad_weight) and torch.equal(x.grad, grad_x)
    assert len(chosen) == 3
    for calls, others in ((of_weight, [False, True, False]), (of_x, [True, False, False])):
        masks = [a[-1] for o, a in calls.made if o is torch.ops.aten.convolution_backward.default]
        convolutions = [o for o, _ in calls.made if o is torch.ops.aten.convolution.default]
        assert masks in ([], [others]) and len(convolutions) <= 1


@pytest.mark.parametrize("mean", [0, 10])
@pytest.mark.parametrize("side", [4, 8])
@pytest.mark.parametrize("layer", [nn.GroupNorm(4, 24), nn.GroupNorm(24, 24), nn.GroupNorm(1, 24)])
def test_group_norm(layer, side, mean):
    check_layer(layer, (3, 24, side, side), mean)


@pytest.mark.parametrize("side", [2, 8])
def test_instance_norm(side):
    check_layer(InstanceNorm2d(24, affine=True), (3, 24, side, side))


@pytest.mark.parametrize("layer", [nn.ELU(), nn.CELU(), nn.ELU(alpha=0.5), nn.CELU(alpha=2.0)])
def test_exponential_units(layer):
    check_layer(layer, (3, 8, 4, 4))
