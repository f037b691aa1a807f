"""The configured optimizer, with its settings, over all parameters."""

import pytest
import torch

from engine.config import OptimConfig
from engine.models import build_model
from engine.training.optim import Muon, make_optimizer, orthogonalize


@pytest.fixture(scope="module")
def model():
    return build_model("resnet10", width=0.0625)


@pytest.mark.parametrize(
    ("config", "kind", "settings"),
    [
        (
            OptimConfig(momentum=0.8, nesterov=True, weight_decay=1e-3),
            torch.optim.SGD,
            {"momentum": 0.8, "nesterov": True, "weight_decay": 1e-3, "lr": 0.1},
        ),
        (OptimConfig("adam", 0.001), torch.optim.Adam, {"weight_decay": 5e-4, "lr": 0.001}),
        (OptimConfig("adamw", 0.001), torch.optim.AdamW, {"weight_decay": 5e-4, "lr": 0.001}),
    ],
    ids=["sgd", "adam", "adamw"],
)
def test_the_optimizer_is_the_configured_one_over_every_parameter(model, config, kind, settings):
    optimizer = make_optimizer(model, config)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert {key: group[key] for key in settings} == settings
    assert [id(p) for p in group["params"]] == [id(p) for p in model.parameters()]


@pytest.mark.parametrize(("optimizer", "decoupled"), [("adam", False), ("adamw", True)])
def test_only_adamw_decays_weights_apart_from_the_gradient(optimizer, decoupled):
    """With a gradient of 0, Adam's normalized step has the size of lr; a decoupled decay lr·wd."""
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    made = make_optimizer(layer, OptimConfig(optimizer, 0.1, weight_decay=0.01))
    layer.weight.grad = torch.zeros_like(layer.weight)
    made.step()
    step = 1 - layer.weight.item()
    assert step == pytest.approx(0.1 * 0.01 if decoupled else 0.1, rel=1e-4)


def test_muon_turns_filters_and_leaves_the_rest_to_sgd(model):
    """Each group has the factor of its rate; every parameter is in exactly one of them."""
    optimizer = make_optimizer(model, OptimConfig("muon", 0.1, head_lr=7.0, bias_lr=3.0))
    assert type(optimizer) is Muon
    facts = [(group["filters"], group["factor"]) for group in optimizer.param_groups]
    assert facts == [(True, 1.0), (False, 7.0), (False, 3.0), (False, 21.0), (False, 1.0)]
    dimensions = [{p.ndim for p in group["params"]} for group in optimizer.param_groups]
    assert dimensions == [{4}, {2}, {1}, {1}, {1}]
    grouped = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_orthogonalize_keeps_directions_and_evens_out_lengths(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    result = orthogonalize(matrix, steps=5)
    projected = left.T @ result @ right.T
    assert projected.diag().min() > 0.6
    assert projected.diag().max() < 1.25
    assert (projected - projected.diag().diag()).abs().max() < 0.05  # bfloat16
    assert values.max() / values.min() > 2  # it had something to do


def test_muon_does_not_see_the_size_of_a_gradient():
    def stepped(scale):
        layer = torch.nn.Conv2d(4, 6, 3, bias=False)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1)))
        gradient = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(2))
        layer.weight.grad = scale * gradient
        make_optimizer(layer, OptimConfig("muon", 0.1)).step()
        return layer.weight.detach(), gradient

    (small, gradient), (large, _) = stepped(1.0), stepped(1024.0)
    assert torch.equal(small, large)
    start = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
    start *= 6**0.5 / start.norm()  # unit norm a filter, on average
    assert (small - start).norm() < 0.1 * 6**0.5 * 1.25  # the rate is an angle
    assert ((small - start) * gradient).sum() < 0  # and it goes downhill


def test_what_muon_leaves_to_sgd_is_nesterov_with_a_decoupled_decay():
    """Against torch's own SGD, which decays through the gradient."""
    config = OptimConfig("muon", 0.1, weight_decay=0.0, head_lr=2.0)
    ours, theirs = (torch.nn.Linear(3, 2, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    made = make_optimizer(ours, config)
    made.param_groups[0]["lr"] = 0.1 * made.param_groups[0]["factor"]  # as the loop does
    reference = torch.optim.SGD(theirs.parameters(), 0.2, momentum=0.85, nesterov=True)
    for step in range(3):
        gradient = torch.full((2, 3), step + 1.0)
        ours.weight.grad, theirs.weight.grad = gradient.clone(), gradient.clone()
        made.step(), reference.step()
    torch.testing.assert_close(ours.weight, theirs.weight)

    torch.nn.init.ones_(ours.weight)
    ours.weight.grad = torch.zeros(2, 3)
    made = make_optimizer(ours, OptimConfig("muon", 0.1, weight_decay=0.5, head_lr=2.0))
    made.param_groups[0]["lr"] = 0.2
    made.step()
    assert ours.weight.detach().unique().item() == pytest.approx(1 - 0.1 * 0.5)
