"""The configured optimizer, with its settings, over all parameters."""

import pytest
import torch

from engine.config import OptimConfig
from engine.models import build_model
from engine.training.optim import make_optimizer


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
