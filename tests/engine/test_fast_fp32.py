"""fp32 by Winograd's algorithm, as products and in place: PyTorch's own answers, where meant."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine import fast
from engine.device import Compute
from engine.fast import Fp32Conv, accelerate, small_maps, winograd
from engine.models import build_model
from engine.training import loop

pytestmark = pytest.mark.usefixtures("one_thread")
FP32 = Compute(torch.device("cpu"), "fp32")
TOLERANCE = 1e-5  # relative, of a whole tensor


@pytest.fixture(autouse=True)
def onednn(monkeypatch):
    """The layers are right on any CPU; here they are used on any."""
    monkeypatch.setattr(fast, "has_onednn", lambda: True)


@pytest.fixture
def ways(monkeypatch):
    """The names of the faster ways that were taken, in order."""
    taken = []
    for module, name in ((winograd, "_Winograd"), (small_maps, "_Product")):
        apply = getattr(module, name).apply
        noted = lambda *a, apply=apply, name=name: taken.append(name) or apply(*a)  # noqa: E731
        monkeypatch.setattr(getattr(module, name), "apply", noted)
    return taken


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
    faster = accelerate(nn.Sequential(layer), FP32)[0]
    assert type(faster) is Fp32Conv
    expected = outcome(exact, x.double())
    found = outcome(faster, x.contiguous(memory_format=torch.channels_last))
    for result, value in zip(found, expected, strict=True):
        assert result.shape == value.shape
        assert distance(result, value) < TOLERANCE


@pytest.mark.parametrize("images_at_once", [1, 3, 40])
@pytest.mark.parametrize("side", [3, 4, 7, 8])
def test_convolutions_by_winograd(side, images_at_once, ways, monkeypatch):
    monkeypatch.setattr(winograd, "_images_at_once", lambda *sizes: images_at_once)
    check(nn.Conv2d(128, 136, 3, padding=1), (32, 128, side, side))
    assert ways == ["_Winograd"]


def test_maps_need_not_be_square(ways):
    check(nn.Conv2d(256, 64, 3, padding=1, bias=False), (16, 256, 4, 12))
    assert ways == ["_Winograd"]


@pytest.mark.parametrize(("stride", "side"), [(1, 2), (1, 1), (2, 4)])
def test_convolutions_to_small_maps(stride, side, ways):
    check(nn.Conv2d(128, 130, 3, stride, 1), (3, 128, side, side))
    assert ways == ["_Product"]


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
def test_other_convolutions_are_pytorchs(layer, images, side, ways):
    check(layer, (images, layer.in_channels, side, side))
    assert ways == []


def test_no_gradient_is_made_that_nobody_asks_for(ways):
    """As for the first layer, whose images need none, and for one that is frozen."""
    layer = Fp32Conv(128, 128, 3, padding=1, bias=False)
    x = torch.randn(32, 128, 4, 4, generator=torch.Generator().manual_seed(1))
    every = outcome(layer, x)
    layer(x).backward(torch.randn(x.shape, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(layer.weight.grad, every[2])
    assert x.grad is None
    layer.requires_grad_(False)
    x.requires_grad_()
    layer(x).backward(torch.randn(x.shape, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(x.grad, every[1])
    assert len(ways) == 3


def test_nothing_is_kept_without_gradients(ways):
    """Inference gives the same bits, and holds no tiles for a backward pass."""
    layer = Fp32Conv(128, 128, 3, padding=1)
    x = torch.randn(32, 128, 4, 4, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        answer = layer(x)
    trained = layer(x)
    assert torch.equal(answer, trained)
    assert answer.grad_fn is None and trained.grad_fn is not None
    assert len(ways) == 2


def test_bf16_and_double_are_not_its_business(ways):
    layer = Fp32Conv(128, 128, 3, padding=1)
    x = torch.randn(32, 128, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype is torch.bfloat16
    layer.double()(x.double())
    assert ways == []


@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "speedrun", "densenet121", "convmixer256d8"])
def test_whole_networks_keep_their_names_and_answers(arch, ways):
    images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    plain = build_model(arch).eval()
    names = list(plain.state_dict())
    faster = accelerate(copy.deepcopy(plain).to(memory_format=torch.channels_last), FP32)
    assert list(faster.state_dict()) == names
    if arch == "speedrun":
        for network in (plain, faster):
            network.stem[0].weight.fill_(0.1)
    with torch.no_grad():
        expected = plain(images)
        result = faster(images.contiguous(memory_format=torch.channels_last))
    assert distance(result, expected) < 10 * TOLERANCE
    assert bool(ways) == (arch in ("resnet18", "vgg16", "speedrun"))


def test_gradients_go_through_a_whole_network_unchanged(ways):
    """In training, with batch norm: the first layer's gradient has come through all the others."""
    draw = torch.Generator().manual_seed(1)
    images, labels = torch.randn(32, 3, 16, 16, generator=draw), torch.arange(32) % 10
    plain = build_model("resnet18", activation="gelu")  # smooth: rounding moves nothing over a kink
    faster = accelerate(copy.deepcopy(plain).to(memory_format=torch.channels_last), FP32)
    slopes = []
    for network in (plain, faster):
        loss = F.cross_entropy(network(images), labels)
        slopes.append(torch.autograd.grad(loss, list(network.parameters())))
    assert set(ways) == {"_Winograd", "_Product"}
    for found, expected in zip(slopes[1], slopes[0], strict=True):
        assert distance(found, expected) < 100 * TOLERANCE


def test_the_loss_falls_as_it_does_without_them(make_trainer, tiny, ways, monkeypatch):
    """The same training with and without the faster layers: what rounding adds up to is small."""
    losses, taken = [], []
    for faster in (True, False):
        if not faster:
            monkeypatch.setattr(loop, "accelerate", lambda model, compute: model)
        config = tiny(epochs=3, **{"model.width": 0.5, "optim.lr": 0.02})
        epochs = [r for r in make_trainer(None, config).fit() if hasattr(r, "train_loss")]
        losses.append([epoch.train_loss for epoch in epochs])
        taken.append(set(ways))
        ways.clear()
    assert taken == [{"_Winograd"}, set()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
@pytest.mark.parametrize("arch", ["resnet18", "vgg16", "densenet121", "resnext18", "speedrun"])
def test_in_place_activations_change_no_gradient(arch, activation, monkeypatch):
    draw = torch.Generator().manual_seed(1)
    images = torch.randn(2, 3, 32, 32, generator=draw)
    plain = build_model(arch, activation=activation, width=0.25)
    with monkeypatch.context() as patch:
        patch.setattr(fast, "IN_PLACE", ())
        kept = accelerate(copy.deepcopy(plain), FP32)
    changed = accelerate(plain, FP32)
    assert sum(getattr(m, "inplace", False) for m in changed.modules()) > 3
    assert not any(getattr(m, "inplace", False) for m in kept.modules())
    slopes = []
    for network in (kept, changed):
        loss = F.cross_entropy(network(images), torch.arange(2))
        trained = [p for p in network.parameters() if p.requires_grad]
        slopes.append(torch.autograd.grad(loss, trained))
    assert all(torch.equal(a, b) for a, b in zip(*slopes, strict=True))
