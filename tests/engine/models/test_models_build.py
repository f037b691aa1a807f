"""Every architecture builds, runs and has gradients; parameter counts are those of the papers."""

import pytest
import torch
import torch.nn.functional as F

from engine.errors import ConfigError
from engine.models import (
    ACTIVATIONS,
    ARCHITECTURES,
    NORMS,
    build_model,
    build_on_meta,
    merge,
    whitening,
)
from engine.models.resnet import RESNETS
from engine.models.summary import count_parameters

COUNTS = {
    "resnet18": 11_173_962,
    "resnet34": 21_282_122,
    "wideresnet14": 21_063_818,
    "vgg16": 14_728_266,
    "densenet121": 6_956_298,
    "resnext18": 10_021_194,
    "convmixer256d16": 1_280_266,
}
FAMILIES = {
    "ResNet": {f"resnet{depth}" for depth in (10, 18, 34, 50, 101, 152)},
    "ResNeXt": {f"resnext{depth}" for depth in (10, 18, 34, 50, 101, 152)},
    "Wide ResNet": {"wideresnet14"},
    "VGG": {f"vgg{depth}" for depth in (11, 13, 16, 19)},
    "DenseNet": {f"densenet{depth}" for depth in (121, 161, 169, 201)},
    "Speedrun": {"speedrun"},
    "ConvMixer": {
        *("convmixer256d8", "convmixer256d16", "convmixer256d16k3", "convmixer256d16k9"),
        *("convmixer768d17", "convmixer1024d10", "convmixer1024d18", "convmixer2048d5"),
    },
}


def images_and_labels(batch=2):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, 32, 32, generator=generator), torch.arange(batch)


def check_gradients(model, num_classes, **autocast):
    """One forward and backward pass: shape, finite values, a gradient for every weight."""
    images, labels = images_and_labels()
    if layer := whitening.find(model):
        layer.fit(images)  # its filters are zero until then
    with torch.autocast("cpu", torch.bfloat16, **autocast):
        logits = model(images)
        loss = F.cross_entropy(logits, labels)
    assert logits.shape == (2, num_classes)
    assert logits.isfinite().all()
    loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if parameter.ndim > 1:  # the gradient of a bias in front of a norm is 0
            assert parameter.grad.any(), name


@pytest.mark.parametrize(("family", "names"), FAMILIES.items())
def test_every_architecture_is_known(family, names):
    assert {name for name, a in ARCHITECTURES.items() if a.family == family} == names


@pytest.mark.parametrize(("arch", "count"), COUNTS.items())
def test_parameter_count(arch, count):
    assert count_parameters(arch) == count
    assert sum(p.numel() for p in build_model(arch).parameters()) == count


@pytest.mark.parametrize("arch", ["resnet18", "resnext18", "vgg16", "convmixer256d8"])
def test_runs_at_full_width(arch):
    check_gradients(build_model(arch), 10, enabled=False)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_runs_with_other_choices(arch):
    """Every architecture, with another activation, norm, width and class count than its own."""
    index = list(ARCHITECTURES).index(arch)
    activation = list(ACTIVATIONS)[1 + index % (len(ACTIVATIONS) - 1)]
    norm = ("layer", "group")[index % 2]
    model = build_model(arch, 7, activation, norm, width=(0.25, 0.3)[index % 2])
    check_gradients(model, 7, enabled=False)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("arch", ["resnet10", "resnext50", "vgg11", "densenet121"])
def test_runs_channels_last_under_bfloat16(arch, norm):
    model = build_model(arch, norm=norm, width=0.25).to(memory_format=torch.channels_last)
    check_gradients(model, 10, enabled=True)


@pytest.mark.parametrize("norm", ["batch", "layer", "group"])  # see the next test for instance
def test_convmixer_runs_channels_last_under_bfloat16(norm):
    model = build_model("convmixer256d8", norm=norm, width=0.5)
    check_gradients(model.to(memory_format=torch.channels_last), 10, enabled=True)


def test_convmixer_with_instance_norm_ignores_its_input():
    """Inherent: the norm is its last layer, and the mean of an instance norm is its bias."""
    model = build_model("convmixer256d8", norm="instance", width=0.25)
    first, second = model(images_and_labels()[0])
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)


def test_memory_format_does_not_change_the_result():
    images, _ = images_and_labels()
    model = build_model("resnet10", width=0.5).eval()
    expected = model(images)
    model = model.to(memory_format=torch.channels_last)
    result = model(images.to(memory_format=torch.channels_last))
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("width", [0.1, 0.77, 1.5])
def test_every_width_builds_a_consistent_network(arch, width):
    model = build_on_meta(arch, width=width)
    assert model(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 10)


def test_width_scales_every_layer():
    model = build_model("vgg11", width=0.3)
    widths = [m.out_channels for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert widths == [19, 38, 77, 77, 154, 154, 154, 154]  # 0.3 times 64, 128, 256, 512, rounded


def test_grouped_convolutions_keep_32_groups_at_any_width():
    for arch in ("resnext10", "resnext50"):
        for width in (0.05, 0.4, 1.3):
            model = build_on_meta(arch, width=width)
            groups = {m.groups for m in model.modules() if isinstance(m, torch.nn.Conv2d)}
            assert groups == {1, 32}


@pytest.mark.parametrize(
    ("field", "arguments", "message"),
    [
        ("model.arch", {"arch": "resnet19"}, "unknown architecture 'resnet19'; known: resnet10, "),
        ("model.activation", {"activation": "swish"}, "unknown activation 'swish'; known: relu, "),
        ("model.norm", {"norm": "none"}, "unknown norm 'none'; known: batch, instance"),
        ("model.width", {"width": 0.001}, "0.001 leaves no channels in a layer of 64"),
        ("model.width", {"width": 0.001, "arch": "resnext50"}, "leaves no channels"),
        ("model.width", {"width": 0.0}, "0.0 is not a number above 0"),
        ("model.width", {"width": -1.0}, "above 0"),
        ("model.width", {"width": float("nan")}, "above 0"),
        ("model.width", {"width": float("inf")}, "above 0"),
        ("model.width", {"width": 1e300}, "too wide"),
        ("model.width", {"width": 2000.0}, "GB of weights"),  # more than any machine has
        ("model.num_classes", {"num_classes": 0}, "0 is not a whole number above 0"),
        ("model.num_classes", {"num_classes": 2.5}, "2.5 is not a whole number above 0"),
    ],
)
def test_impossible_choices_name_their_field(field, arguments, message):
    with pytest.raises(ConfigError) as caught:
        build_model(**{"arch": "resnet18", **arguments})
    assert caught.value.field == field
    assert message in str(caught.value)


def test_registering_a_name_twice_raises():
    with pytest.raises(ValueError, match="registered twice: resnet10"):
        merge([RESNETS, {"resnet10": RESNETS["resnet10"]}])


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_has_a_description(arch):
    architecture = ARCHITECTURES[arch]
    assert architecture.family
    assert architecture.description
    assert "\n" not in architecture.description
    assert "https://" in architecture.paper
