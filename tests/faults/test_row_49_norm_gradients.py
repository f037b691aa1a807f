"""Row 49 of docs/FAULTS.md: a wrong gradient of instance norm for one image in channels_last."""

import itertools

import pytest
import torch

from engine.device import Compute
from engine.fast import accelerate
from engine.models import ACTIVATIONS, NORMS, build_model

FORMATS = (torch.contiguous_format, torch.channels_last)
FAMILIES = ("resnet10", "vgg11", "densenet121", "resnext10", "convmixer256d8", "speedrun")


def gradients(module, x, grad) -> list[torch.Tensor]:
    """Gradients of the input and of the parameters, in fp64."""
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    module.zero_grad()
    module(x).backward(grad)
    return [t.double().clone() for t in (x.grad, *(p.grad for p in module.parameters()))]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("training", [True, False])
def test_row_49_gradients_of_norms_do_not_depend_on_the_memory_format(norm, batch, training):
    generator = torch.Generator().manual_seed(0)
    x, grad = (torch.randn(batch, 32, 6, 5, generator=generator) for _ in range(2))
    module = NORMS[norm](32).train(training)
    exact = gradients(module.double(), x.double(), grad.double())
    module.float()
    for of_x, of_grad in itertools.product(FORMATS, FORMATS):
        found = gradients(
            module, x.contiguous(memory_format=of_x), grad.contiguous(memory_format=of_grad)
        )
        for ours, theirs in zip(found, exact, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arch", "norm", "activation"),
    [
        *((arch, "instance", "silu") for arch in FAMILIES if not arch.startswith("convmixer")),
        *((arch, norm, "relu") for arch in FAMILIES[::2] for norm in ("layer", "group")),
        *(("resnet10", "instance", activation) for activation in ACTIVATIONS),
    ],
)
def test_row_49_a_network_learns_from_one_image_as_in_fp64(arch, norm, activation):
    """Cosine of the parameters' gradient with that of the contiguous format in fp64."""
    size = 64 if arch == "vgg11" else 32  # instance norm needs more than one position
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    found = []
    for dtype, memory_format in ((torch.float64, FORMATS[0]), (torch.float32, FORMATS[1])):
        model = build_model(arch, norm=norm, activation=activation, width=0.125).to(dtype)
        model = model.to(memory_format=memory_format)
        if dtype is torch.float32:
            accelerate(model, Compute(torch.device("cpu"), "fp32"), training=True)
        logits = model(x.to(dtype).contiguous(memory_format=memory_format))
        logits[0, 3].backward()
        grads = [p.grad.flatten().double() for p in model.parameters() if p.grad is not None]
        found.append(torch.cat(grads))
    assert torch.cosine_similarity(*found, dim=0) > 0.999
