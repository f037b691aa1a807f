"""Optimizers by name, and Muon. Each step sets a group's lr to the scheduled lr × `factor`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.config import OptimConfig
from engine.device import fastest_precision

NEWTON_SCHULZ_STEPS = 3
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024; see orthogonalize
SGD_MOMENTUM = 0.85  # for the parameters that Muon updates with SGD


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """Build the configured optimizer; except in Muon, all parameters have weight decay.

    torch's optimizers are fused: one kernel for all parameters, and in fp16 a step that overflowed
    is skipped on the device, without synchronizing with the host.
    """
    groups = parameter_groups(model, config)
    if config.optimizer == "muon":
        return Muon(groups, config.lr, config.momentum, config.weight_decay)
    if config.optimizer == "sgd":
        optimizer = torch.optim.SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            nesterov=config.nesterov,
            weight_decay=config.weight_decay,
            fused=True,
        )
        return _init_momentum(optimizer) if config.momentum else optimizer
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def _init_momentum(optimizer: torch.optim.SGD) -> torch.optim.SGD:
    """Initialize momentum buffers with zeros; torch sets them to the first gradient instead.

    The result is the same unless the first step overflows in fp16: the fused kernel then leaves
    the buffers uninitialized, and the next step would use them.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Parameter groups, each with a `factor` on the learning rate.

    Filters, head weights, biases, head bias and norm scales. Both factors apply to the head's bias.
    A single group if all parameters are treated alike.
    """
    if config.optimizer != "muon" and config.head_lr == config.bias_lr == 1:
        return [{"params": list(model.parameters()), "factor": 1.0}]
    filters, head, biases, head_biases, scales = [], [], [], [], []
    layers = {name.rpartition(".")[0]: p.ndim for name, p in model.named_parameters() if p.ndim > 1}
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            of_head = layers.get(name.rpartition(".")[0]) == 2 and config.head_lr != 1
            kind = head_biases if of_head else biases
            (kind if name.endswith("bias") else scales).append(parameter)
        else:
            (filters if parameter.ndim == 4 else head).append(parameter)
    groups = [
        {"params": filters, "factor": 1.0, "filters": True},
        {"params": head, "factor": config.head_lr, "filters": False},
        {"params": biases, "factor": config.bias_lr, "filters": False},
        {"params": head_biases, "factor": config.head_lr * config.bias_lr, "filters": False},
        {"params": scales, "factor": 1.0, "filters": False},
    ]
    if config.optimizer == "muon":
        groups[0]["weight_decay"] = groups[-1]["weight_decay"] = 0.0  # see Muon
    return [group for group in groups if group["params"]]


class Muon(torch.optim.Optimizer):
    """Orthogonalized momentum for convolutions, Nesterov SGD for the head, biases and norms.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
    https://kellerjordan.github.io/posts/muon/, as used in its CIFAR-10 speedrun: the filters of a
    layer, flattened to a matrix (outputs × inputs·height·width), are kept at unit norm on average,
    a scale to which the norm layer after a convolution is invariant; their Nesterov momentum is
    orthogonalized, so that `lr` is an angle, independent of the scale of the gradient. Weight decay
    is decoupled (p -= lr·weight_decay·p) and applies neither to filters, whose norm is fixed, nor
    to the scales of norm layers, which it would drive to 0.

    groups: from parameter_groups. lr above 0, momentum 0 to below 1.

    In fp16 it unscales the gradients of torch.amp.GradScaler itself and reverts a step that
    overflowed, both on the device, without synchronizing with the host.
    """

    _step_supports_amp_scaling = True  # GradScaler then sets grad_scale and found_inf, as tensors

    def __init__(
        self, groups: list[dict[str, Any]], lr: float, momentum: float, weight_decay: float
    ):
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        overflowed = getattr(self, "found_inf", None)
        if overflowed is None:
            self._update()
            return
        parameters = [p for group in self.param_groups for p in _with_gradient(group)]
        scale = getattr(self, "grad_scale", None)  # None if unscaled already
        if scale is not None:
            torch._foreach_div_([p.grad for p in parameters], scale)
        state = [*parameters, *self._momentum_buffers(parameters)]
        before = [tensor.clone() for tensor in state]
        self._update()
        for tensor, kept in zip(state, before, strict=True):
            tensor.copy_(torch.where(overflowed > 0, kept, tensor))

    def _update(self) -> None:
        for group in self.param_groups:
            parameters = _with_gradient(group)
            if group["filters"]:
                for parameter in parameters:
                    self._muon_step(parameter, group)
            elif parameters:
                self._sgd_step(parameters, group)

    def _muon_step(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """Muon step of one layer's filters [outputs, inputs, height, width]."""
        (momentum,) = self._momentum_buffers([parameter])
        momentum.mul_(group["momentum"]).add_(parameter.grad)
        direction = parameter.grad.add(momentum, alpha=group["momentum"])
        update = orthogonalize(direction.flatten(1)).view(direction.shape)
        parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=1e-12))
        parameter.add_(update.to(parameter.dtype), alpha=-group["lr"])

    def _sgd_step(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        """SGD step with Nesterov momentum and decoupled weight decay, which ignores `factor`."""
        lr = group["lr"]
        base_lr = lr / group["factor"] if group["factor"] else 0.0
        buffers, gradients = self._momentum_buffers(parameters), [p.grad for p in parameters]
        torch._foreach_mul_(parameters, 1 - base_lr * group["weight_decay"])
        torch._foreach_mul_(buffers, SGD_MOMENTUM)
        torch._foreach_add_(buffers, gradients)
        torch._foreach_add_(parameters, gradients, alpha=-lr)
        torch._foreach_add_(parameters, buffers, alpha=-lr * SGD_MOMENTUM)

    def _momentum_buffers(self, parameters: list[Tensor]) -> list[Tensor]:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return [self.state[parameter]["momentum_buffer"] for parameter in parameters]


def _with_gradient(group: dict[str, Any]) -> list[Tensor]:
    return [p for p in group["params"] if p.grad is not None]


def orthogonalize(matrix: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """Approximate the orthogonal factor of `matrix` [n, m]: its singular values become about 1.

    Newton–Schulz iteration with the quintic of Jordan et al. 2024 (see Muon), whose coefficients
    trade exactness for speed: after three steps most singular values are between 0.3 and 1.2.
    Computed in bfloat16 if the hardware supports it; the result has the dtype of `matrix`.
    """
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16() if fastest_precision(matrix.device) == "bf16" else matrix.float()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.T if tall else x).to(matrix.dtype)
