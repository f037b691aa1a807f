"""The bf16 layers agree with PyTorch's, forward and backward, and apply where they should."""

import copy
from importlib.util import find_spec

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from engine.device import Compute
from engine.fast import accelerate
from engine.fast.activations import FastCELU, FastELU
from engine.fast.conv import depthwise
from engine.fast.conv.layers import Bf16Conv
from engine.fast.fusion.dense import FusedDenseBlock
from engine.fast.fusion.layers import FusedSequential
from engine.fast.norms import FastGroupNorm, FastInstanceNorm
from engine.models import build_model, whitening
from engine.models.layers import InstanceNorm2d
from engine.training import loop

pytestmark = pytest.mark.usefixtures("one_thread")
BF16 = Compute(torch.device("cpu"), "bf16")
TOLERANCE = 0.02  # ‖difference‖ / ‖expected‖ of a tensor; bf16 rounds by up to 2^-9
FASTER = {Bf16Conv, FastGroupNorm, FastInstanceNorm, FastELU, FastCELU}


@pytest.fixture(autouse=True, params=[False, True], ids=["dot products", "AMX"])
def amx(request, cpu):
    """The layers are right on any CPU; here they are used on any."""
    cpu(amx=request.param, avx512_bf16=True)
    return request.param


def faster_layers(model):
    """The model as in inference, where nothing is fused."""
    return accelerate(model, BF16, training=False)


def distance(result, expected) -> float:
    return ((result.double() - expected.double()).norm() / expected.double().norm()).item()


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
    assert type(faster[0]) in FASTER
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


@pytest.mark.parametrize(
    "choices",
    [
        {"model.arch": "convmixer256d8", "model.width": 0.03125},
        {"model.arch": "resnext10", "model.width": 0.5},
        {"model.arch": "resnet10", "model.width": 0.5},
        {"model.arch": "speedrun", "model.width": 0.5},
        {"model.arch": "densenet121", "model.width": 0.125},
    ],
    ids=lambda choices: choices["model.arch"],
)
def test_an_interrupted_training_resumes_bit_identically(
    choices, make_trainer, tiny, tmp_path, same, monkeypatch, chosen
):
    monkeypatch.setattr(loop, "READ_EVERY_S", 0.0)
    config = tiny(precision="bf16", **choices, **{"optim.lr": 0.01})
    ended = []
    for name, cuts in (("whole", 0), ("cut", 1)):
        (tmp_path / name).mkdir()
        for _ in range(cuts):
            records = make_trainer(tmp_path / name, config).fit()
            for _ in range(6):
                next(records)
            records.close()
        trainer = make_trainer(tmp_path / name, config)
        list(trainer.fit())
        ended.append(trainer.model.state_dict())
    assert same(*ended)
    is_dense = choices["model.arch"] == "densenet121"
    assert chosen or is_dense  # which has no filters that are slow without AMX
    if find_spec("numba"):
        kind = FusedDenseBlock if is_dense else FusedSequential
        assert any(isinstance(m, kind) for m in trainer.model.modules())


@pytest.mark.parametrize("arch", ["convmixer256d8", "resnext10", "resnet10"])
def test_it_can_be_compiled(arch, chosen):
    """The graph that torch.compile traces gives the same gradients; C++ is not compiled."""
    width = 0.03125 if arch == "convmixer256d8" else 0.5
    model = faster_layers(build_model(arch, width=width).train())
    images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    slopes = []
    for network in (model, torch.compile(model, backend="aot_eager")):
        with torch.autocast("cpu", torch.bfloat16):
            loss = F.cross_entropy(network(images).float(), torch.arange(4))
        slopes.append(torch.autograd.grad(loss, list(model.parameters())))
    torch.compiler.reset()
    assert chosen
    for found, expected in zip(slopes[1], slopes[0], strict=True):
        assert distance(found, expected) < TOLERANCE


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


@pytest.mark.parametrize(
    ("arch", "activation", "norm"),
    [
        ("resnet18", None, None),
        ("resnext18", "elu", "group"),
        ("vgg16", "celu", "instance"),
        ("densenet121", None, "layer"),
        ("convmixer256d8", None, None),
        ("speedrun", None, None),
    ],
)
def test_whole_networks_keep_their_names_and_answers(arch, activation, norm):
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(4, 3, 32, 32, generator=draw)
    plain = build_model(arch, activation=activation, norm=norm)
    if layer := whitening.find(plain):
        layer.fit(images)
    names = list(plain.state_dict())
    faster = faster_layers(copy.deepcopy(plain).to(memory_format=torch.channels_last))
    assert list(faster.state_dict()) == names
    # Norms over few images would show rounding in their statistics, not in the layers.
    plain.eval(), faster.eval()
    expected = plain(images)
    with torch.autocast("cpu", torch.bfloat16):
        result = faster(images.contiguous(memory_format=torch.channels_last))
    assert distance(result.float(), expected) < 5 * TOLERANCE
    slopes = []
    for network, logits in ((plain, expected), (faster, result)):
        (head,) = [m for m in network.modules() if isinstance(m, nn.Linear)]
        loss = F.cross_entropy(logits.float(), torch.arange(4))
        slopes += torch.autograd.grad(loss, head.weight)
    assert distance(slopes[1], slopes[0]) < 5 * TOLERANCE


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_gradients_through_a_whole_network_are_no_worse_than_bf16_makes_them(norm):
    """Every parameter's gradient in training is as near to fp32 as with PyTorch's bf16 layers."""
    draw = torch.Generator().manual_seed(1)
    images, labels = torch.randn(32, 3, 32, 32, generator=draw), torch.arange(32) % 10
    # smooth, so rounding moves no value across a kink
    plain = build_model("resnet10", activation="celu", norm=norm, width=0.5)
    last = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    faster = faster_layers(copy.deepcopy(last))
    assert {type(m) for m in faster.modules()} & FASTER
    slopes = []
    for network, enabled in ((plain, False), (last, True), (faster, True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = F.cross_entropy(network(images).float(), labels)
        slopes.append(torch.autograd.grad(loss, list(network.parameters())))
    for exact, usual, found in zip(*slopes, strict=True):
        assert distance(found, exact) < max(TOLERANCE, 1.5 * distance(usual, exact))


def test_activations_are_in_place_where_that_is_faster(amx):
    model = faster_layers(build_model("resnet10", width=0.25))
    x = torch.randn(1, 3, 4, 4)
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            assert (module(x) is x) == (not amx)


@pytest.mark.parametrize("compute", [Compute(torch.device("cpu"), "fp32"), BF16])
def test_elsewhere_nothing_is_changed(compute, cpu):
    """Neither for a CPU without bf16 instructions nor for one without the kernels in fp32."""
    cpu(amx=False, avx512_bf16=False, kernels=False)
    for activation in ("elu", "relu"):
        model = build_model("resnet10", activation=activation, norm="group", width=0.25)
        before = [type(m) for m in model.modules()]
        accelerate(model, compute, training=True)
        assert [type(m) for m in model.modules()] == before


@pytest.mark.parametrize("arch", ["resnet10", "densenet121"])
def test_the_loss_falls_as_it_does_in_fp32(arch, make_trainer, tiny):
    """The same training in both precisions: losses agree within bf16 rounding noise."""
    losses = []
    for precision in ("fp32", "bf16"):
        choices = {"model.arch": arch, "model.width": 0.25, "optim.lr": 0.02}
        config = tiny(precision=precision, epochs=4, **choices)
        epochs = [r for r in make_trainer(None, config).fit() if hasattr(r, "train_loss")]
        losses.append([epoch.train_loss for epoch in epochs])
    assert losses[0] == pytest.approx(losses[1], rel=0.03)
    assert losses[0][-1] < losses[0][0]
