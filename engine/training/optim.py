"""Optimizers by name."""

from __future__ import annotations

import torch
from torch import nn

from engine.config import OptimConfig


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The configured optimizer over all parameters, weight decay on every one as in the study.

    The learning rate is set by the loop before each step.
    """
    parameters = list(model.parameters())
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
        )
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(parameters, lr=config.lr, weight_decay=config.weight_decay)
