"""Every network offers the methods of an image classifier, with and without whitening."""

import copy

import pytest
import torch
from torch import nn

from engine.device import Compute, fastest_precision
from engine.errors import ConfigError
from engine.fast import accelerate
from engine.models import ARCHITECTURES, ImageClassifier, build_model, build_on_meta, whitening

# The first, which is the smallest, of each family.
SMALLEST = list({a.family: name for name, a in reversed(ARCHITECTURES.items())}.values())


def images(batch=2):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def built(arch, whitened, **choices):
    """A narrow network in evaluation mode, its whitening fitted."""
    model = build_model(arch, width=0.125, whitening=whitened, seed=3, **choices).eval()
    if layer := whitening.find(model):
        layer.fit(images(8))
    return model


def unwrapped(model):
    return getattr(model, "network", model)


def cam_output(model, x):
    """Logits of x, and the output of the CAM layer, which requires grad."""
    outputs = []
    layer = model.get_submodule(model.cam_layer)
    with layer.register_forward_hook(lambda *args: outputs.append(args[-1])):
        logits = model(x)
    (output,) = outputs
    return logits, output


def cases():
    """Every architecture, with and without whitening; large ones of a family are slow."""
    for arch in ARCHITECTURES:
        for whitened in (False, True):
            quick = arch in SMALLEST or (arch, whitened) == ("resnet50", False)
            marks = [] if quick else [pytest.mark.slow]
            yield pytest.param((arch, whitened), marks=marks, id=f"{arch}-{whitened}")


@pytest.fixture(scope="module", params=cases())
def network(request):
    """A network, built once for all tests."""
    return built(*request.param)


def test_forward_is_the_head_of_the_features(network):
    x = images()
    with torch.no_grad():
        features = network.forward_features(x)
        pre_logits = network.forward_head(features, pre_logits=True)
        logits = network.forward_head(features)
        assert isinstance(network, ImageClassifier)
        assert features.ndim == 4
        assert pre_logits.shape == (2, features.shape[1])
        assert logits.shape == (2, 10)
        assert torch.equal(network(x), logits)
        assert torch.equal(network.get_classifier()(pre_logits), logits)


def test_the_classifier_is_the_only_linear_layer(network):
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    assert linear == [network.get_classifier()]
    weight = network.state_dict()[f"{network.classifier}.weight"]
    assert weight.shape == (10, network.get_classifier().in_features)


def test_a_gradient_reaches_a_cam_layer_of_about_8x8(network):
    """The convolutions of a ConvMixer are all at 16×16; the speedrun network pools 15, 7, 3."""
    logits, output = cam_output(network, images())
    side = {"ConvMixer": 16, "Speedrun": 7}.get(type(unwrapped(network)).__name__, 8)
    assert output.shape == (2, output.shape[1], side, side)
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), output)
    assert gradient.isfinite().all()
    assert all(g.any() for g in gradient)


def test_reset_classifier_replaces_the_last_layer_alone(network):
    model = copy.deepcopy(network)
    model.reset_classifier(7, seed=1)
    before, after = network.state_dict(), model.state_dict()
    new = [name for name in after if name.startswith(f"{model.classifier}.")]
    assert list(after) == list(before)
    assert all(len(after[name]) == 7 for name in new)
    assert all(torch.equal(after[name], before[name]) for name in after if name not in new)
    features = torch.ones(2, model.get_classifier().in_features, 3, 3)
    logits = model.forward_head(features)
    assert logits.shape == (2, 7)
    logits.sum().backward()
    assert all(p.grad.any() for p in model.get_classifier().parameters())


@pytest.mark.parametrize("arch", SMALLEST)
def test_a_new_classifier_depends_on_its_seed_alone(arch):
    def weight(**options):
        model = build_model(arch, width=0.125)
        model.reset_classifier(10, **options)
        return model.get_classifier().weight

    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weight(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(weight(seed=1), first)
    assert torch.equal(weight(), weight(seed=0))
    assert not torch.equal(weight(seed=2), first)
    bound = first.shape[1] ** -0.5
    assert 0.8 * bound < first.abs().max() <= bound  # the scheme of `initialize`


def test_a_new_classifier_takes_the_place_of_the_old_one():
    model = build_model("resnet10", width=0.125).double().eval()
    model.reset_classifier(4)
    new = model.get_classifier()
    assert (new.weight.dtype, new.bias.dtype, new.training) == (torch.float64, torch.float64, False)
    assert new.weight.requires_grad
    meta = build_on_meta("resnet10")
    meta.reset_classifier(4)
    assert meta.get_classifier().weight.is_meta


@pytest.mark.parametrize("num_classes", [0, -1, 2.5])
def test_an_impossible_class_count_leaves_the_classifier(num_classes):
    model = build_on_meta("resnet10")
    old = model.get_classifier()
    with pytest.raises(ConfigError, match=r"model\.num_classes: .* not a whole number above 0"):
        model.reset_classifier(num_classes)
    assert model.get_classifier() is old


@pytest.mark.slow
def test_the_activation_behind_the_whitening_is_fused():
    compute = Compute(torch.device("cpu"), "bf16")
    model = build_model("resnet10", width=0.125, activation="gelu", whitening=True)
    accelerate(model, compute, training=True)
    assert type(model.activation) is type(model.network.stem)
    assert (type(model.activation) is nn.Sequential) == (
        fastest_precision(compute.device) != "bf16"
    )


@pytest.mark.parametrize("whitened", [False, True])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("arch", SMALLEST)
def test_an_accelerated_network_keeps_the_contract(arch, precision, whitened):
    plain = built(arch, whitened)
    compute = Compute(torch.device("cpu"), precision)
    model = accelerate(copy.deepcopy(plain), compute, training=False)
    x = images().to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        features = model.forward_features(x)
        pre_logits = model.forward_head(features, pre_logits=True)
        logits, output = cam_output(model, x)
        assert torch.equal(model.forward_head(features), logits)
        assert torch.equal(model.get_classifier()(pre_logits), logits)
    assert list(model.state_dict()) == list(plain.state_dict())
    (gradient,) = torch.autograd.grad(logits[:, 3].sum(), output)
    assert gradient.any()
    tolerance = {"fp32": 1e-4, "bf16": 0.05}[precision]
    torch.testing.assert_close(logits.float(), plain(x), rtol=tolerance, atol=tolerance)
    model.reset_classifier(7)
    assert model(x).shape == (2, 7)
