"""The fp32 layers agree with PyTorch's, forward and backward, and apply where they should."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.device import Compute
from engine.fast import NAMES, accelerate, without
from engine.fast.activations import InPlaceLeakyReLU, InPlaceReLU
from engine.fast.conv import winograd
from engine.fast.conv.layers import Fp32Conv
from engine.models import build_model

pytestmark = pytest.mark.usefixtures("one_thread")
FP32 = Compute(torch.device("cpu"), "fp32")
TOLERANCE = 1e-5  # relative, of a whole tensor


@pytest.fixture(autouse=True)
def onednn(cpu):
    """The layers are right on any CPU; here they are used on any."""
    cpu(kernels=True)


def faster_layers(model):
    return accelerate(model, FP32, training=True)


def fp32_conv(**choices):
    return faster_layers(nn.Sequential(nn.Conv2d(128, 128, 3, padding=1, **choices)))[0]


def distance(result, expected) -> float:
    return ((result.double() - expected.double()).norm() / expected.double().norm()).item()


def outcome(layer, x):
    """What the layer gives, and the gradients of x and of its parameters."""
    x = x.detach().clone().requires_grad_()
    y = layer(x)
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(2)).to(y.dtype)
    return [y, *torch.autograd.grad(y, [x, *layer.parameters()], grad)]


def check(layer, shape):
    """The layer after accelerate against itself before, in float64."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    exact = copy.deepcopy(layer).double()
    faster = faster_layers(nn.Sequential(layer))[0]
    assert type(faster) is Fp32Conv
    expected = outcome(exact, x.double())
    found = outcome(faster, x.contiguous(memory_format=torch.channels_last))
    for result, value in zip(found, expected, strict=True):
        assert result.shape == value.shape
        assert distance(result, value) < TOLERANCE


@pytest.mark.parametrize("images_at_once", [1, 3, 40])
@pytest.mark.parametrize("side", [3, 4, 7, 8])
def test_convolutions_by_winograd(side, images_at_once, chosen, monkeypatch):
    monkeypatch.setattr(winograd, "images_at_once", lambda *sizes: images_at_once)
    check(nn.Conv2d(128, 136, 3, padding=1), (32, 128, side, side))
    assert chosen == ["winograd"]


def test_maps_need_not_be_square(chosen):
    check(nn.Conv2d(256, 64, 3, padding=1, bias=False), (16, 256, 4, 12))
    assert chosen == ["winograd"]


@pytest.mark.parametrize(("stride", "side"), [(1, 2), (1, 1), (2, 4)])
def test_convolutions_to_small_maps(stride, side, chosen):
    check(nn.Conv2d(128, 130, 3, stride, 1), (3, 128, side, side))
    assert chosen == ["im2col"]


@pytest.mark.parametrize(
    ("layer", "images", "side"),
    [
        (nn.Conv2d(64, 64, 3, padding=1), 32, 8),  # few channels
        (nn.Conv2d(128, 128, 3, padding=1), 7, 8),  # too few tiles: 32 are needed
        (nn.Conv2d(128, 128, 3, padding=1), 32, 5),  # tiles of 4×4 that are mostly edge
        (nn.Conv2d(128, 128, 3, 2, 1), 32, 8),
        (nn.Conv2d(128, 128, 3), 32, 8),
        (nn.Conv2d(128, 128, 1), 32, 8),
        (nn.Conv2d(128, 128, 3, padding=2, dilation=2), 32, 8),
        (nn.Conv2d(256, 256, 3, padding=1, groups=2), 32, 8),
    ],
)
def test_other_convolutions_are_pytorchs(layer, images, side, chosen):
    check(layer, (images, layer.in_channels, side, side))
    assert chosen == []


def test_gradients_that_are_not_needed_are_not_computed(chosen):
    """In a first layer, whose input needs no gradient, and in a frozen one."""
    layer = fp32_conv(bias=False)
    x = torch.randn(32, 128, 4, 4, generator=torch.Generator().manual_seed(1))
    every = outcome(layer, x)
    layer(x).backward(torch.randn(x.shape, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(layer.weight.grad, every[2])
    assert x.grad is None
    layer.requires_grad_(False)
    x.requires_grad_()
    layer(x).backward(torch.randn(x.shape, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(x.grad, every[1])
    assert len(chosen) == 3


def test_nothing_is_kept_without_gradients(chosen):
    """Inference gives the same bits, and holds no tiles for a backward pass."""
    layer = fp32_conv()
    x = torch.randn(32, 128, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        answer = layer(x)
    trained = layer(x)
    assert torch.equal(answer, trained)
    assert answer.grad_fn is None and trained.grad_fn is not None
    assert len(chosen) == 2


def test_bf16_and_fp64_use_pytorchs_convolution(chosen):
    layer = fp32_conv()
    x = torch.randn(32, 128, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16
    layer.double()(x.double())
    assert chosen == []


@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "speedrun", "densenet121", "convmixer256d8"])
def test_whole_networks_keep_their_names_and_answers(arch, chosen):
    images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain = build_model(arch).eval()
    names = list(plain.state_dict())
    faster = faster_layers(copy.deepcopy(plain).to(memory_format=torch.channels_last))
    assert list(faster.state_dict()) == names
    if arch == "speedrun":
        for network in (plain, faster):
            network.stem[0].weight.fill_(0.1)
    with torch.no_grad():
        expected = plain(images)
        result = faster(images.contiguous(memory_format=torch.channels_last))
    assert distance(result, expected) < 10 * TOLERANCE
    assert bool(chosen) == (arch in ("resnet18", "vgg16", "speedrun"))


def test_gradients_go_through_a_whole_network_unchanged(chosen):
    """In training, with batch norm: the first layer's gradient passes through all others."""
    draw = torch.Generator().manual_seed(1)
    images, labels = torch.randn(32, 3, 16, 16, generator=draw), torch.arange(32) % 10
    plain = build_model("resnet18", activation="gelu")  # smooth: rounding moves nothing over a kink
    faster = faster_layers(copy.deepcopy(plain).to(memory_format=torch.channels_last))
    slopes = []
    for network in (plain, faster):
        loss = F.cross_entropy(network(images), labels)
        slopes.append(torch.autograd.grad(loss, list(network.parameters())))
    assert set(chosen) == {"winograd", "im2col"}
    for found, expected in zip(slopes[1], slopes[0], strict=True):
        assert distance(found, expected) < 100 * TOLERANCE


def test_the_loss_falls_as_it_does_without_them(make_trainer, tiny, chosen):
    """The same training with and without the replacements: losses differ by rounding only."""
    losses, taken = [], []
    config = tiny(epochs=3, **{"model.width": 0.5, "optim.lr": 0.02})
    for left_out in ((), NAMES):
        with without(*left_out):
            trainer = make_trainer(None, config)
        epochs = [r for r in trainer.fit() if hasattr(r, "train_loss")]
        losses.append([epoch.train_loss for epoch in epochs])
        taken.append(set(chosen))
        chosen.clear()
    assert taken == [{"winograd"}, set()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "densenet121", "resnext18", "speedrun"])
def test_in_place_activations_change_no_gradient(arch, activation):
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 32, 32, generator=draw)
    plain = build_model(arch, activation=activation, width=0.25)
    with without("in_place"):
        kept = faster_layers(copy.deepcopy(plain))
    changed = faster_layers(plain)
    in_place = (InPlaceReLU, InPlaceLeakyReLU)
    assert sum(isinstance(m, in_place) for m in changed.modules()) > 3
    assert not any(isinstance(m, in_place) for m in kept.modules())
    slopes = []
    for network in (kept, changed):
        loss = F.cross_entropy(network(images), torch.arange(2))
        trained = [p for p in network.parameters() if p.requires_grad]
        slopes.append(torch.autograd.grad(loss, trained))
    assert all(torch.equal(a, b) for a, b in zip(*slopes, strict=True))
