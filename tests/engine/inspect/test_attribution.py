"""Attributions against hand-computed values of a linear network, and completeness of a real one."""

from pathlib import Path

import pytest
import torch
from torch import nn

from engine.augment import normalize
from engine.config import RunConfig
from engine.inspect.attribution import explain, grad_cam, integrated_gradients, occlusion
from engine.models import build_model
from engine.models.base import Head, ImageClassifier
from engine.predict import Network


class Linear(ImageClassifier):
    """One 1×1 convolution, then the mean over pixels and a linear layer."""

    cam_layer = "conv"

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 1, bias=False)
        self.head = Head(2, 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1.0, 1.0]])[..., None, None])
            self.head[2].weight.copy_(torch.tensor([[2.0, 0.0], [-1.0, 3.0]]))

    def forward_features(self, x):
        return self.conv(x)


class Waiting(Linear):
    """Calls `meanwhile` once, in the middle of a pass."""

    meanwhile = None

    def forward_features(self, x):
        found = super().forward_features(x)
        if self.meanwhile:
            meanwhile, Waiting.meanwhile = self.meanwhile, None
            meanwhile()
        return found


@pytest.fixture
def linear():
    return Linear().eval()


@pytest.fixture
def x():
    return torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_grad_cam_of_a_linear_network(linear, x):
    pixels = 32 * 32
    # Equation 1: the mean gradient of a map is weight / pixels; equation 2: ReLU of the sum.
    assert torch.allclose(grad_cam(linear, x, 0), (2 * x[0, 0] / pixels).relu(), atol=1e-7)
    expected = ((-x[0, 0] + 3 * (x[0, 1] + x[0, 2])) / pixels).relu()
    assert torch.allclose(grad_cam(linear, x, 1), expected, atol=1e-7)


def test_integrated_gradients_of_a_linear_network(linear, x):
    found = integrated_gradients(linear, x, 1)
    weights = torch.tensor([-1.0, 3.0, 3.0])[:, None, None] / (32 * 32)
    assert torch.allclose(found.values, weights * x[0], atol=1e-6)
    assert torch.allclose(found.map, found.values.sum(0))
    assert found.is_complete


def test_occlusion_of_a_linear_network(linear):
    x = torch.zeros(1, 3, 32, 32)
    x[0, 0, 0, 0] = 1024.0  # only the square in the corner covers it
    found = occlusion(linear, x, 0)
    assert found[0, 0] == pytest.approx(2.0)
    assert found[8:, 8:].abs().max() == 0


@pytest.mark.parametrize("arch", ["resnet10", "speedrun", "convmixer256d8"])
def test_completeness(arch, x):
    width = 1.0 if arch.startswith("conv") else 0.125
    model = build_model(arch, 10, width=width, seed=1).eval()
    found = integrated_gradients(model, x, 3)
    with torch.no_grad():
        outputs = model(torch.cat([x, torch.zeros_like(x)]))[:, 3]
    assert found.difference == pytest.approx((outputs[0] - outputs[1]).item(), abs=1e-5)
    assert found.is_complete
    assert found.values.sum().item() == pytest.approx(found.difference, rel=0.011)


@pytest.mark.parametrize("arch", ["vgg11", "densenet121"])
def test_maps_have_the_size_of_the_image(arch, x):
    model = build_model(arch, 10, width=0.125, seed=1).eval()
    cam = grad_cam(model, x, 2)
    assert cam.shape == (32, 32)
    assert cam.min() >= 0
    assert not cam.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_explain_normalizes_as_training_does(linear):
    image = torch.randint(256, (3, 32, 32), generator=torch.Generator().manual_seed(0))
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    network = Network(linear, ("a", "b"), mean, std, RunConfig(), Path())
    found = explain(network, image.to(torch.uint8), 1)
    x = normalize(image.to(torch.uint8)[None], mean, std)
    torch.testing.assert_close(found.cam, grad_cam(linear, x, 1))
    torch.testing.assert_close(found.integrated.values, integrated_gradients(linear, x, 1).values)
    torch.testing.assert_close(found.occluded, occlusion(linear, x, 1))


def test_a_pass_of_another_thread_changes_no_heatmap(x):
    model = Waiting().eval()
    alone = grad_cam(model, x, 1)
    Waiting.meanwhile = staticmethod(lambda: model(torch.zeros_like(x)))
    assert grad_cam(model, x, 1).equal(alone)
