"""Optimizers by name, and Muon. The loop sets each group's rate: the schedule's times `factor`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from engine.config import OptimConfig
from engine.device import fastest_precision

NEWTON_SCHULZ_STEPS = 3
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan et al. 2024; see orthogonalize
OTHERS_MOMENTUM = 0.85  # of what Muon leaves to SGD


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The configured optimizer over all that learns, weight decay on everything as in the study.

    torch's own are fused: one pass over all weights; and in fp16 they skip a step that overflowed
    without telling the host, which would have to wait for it.
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
        return _from_rest(optimizer) if config.momentum else optimizer
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return kind(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def _from_rest(optimizer: torch.optim.SGD) -> torch.optim.SGD:
    """With a momentum of 0 to begin with, which torch takes from the first gradient instead.

    That comes to the same, unless that step overflows in fp16: the fused kernel then writes no
    momentum, and the next step would use whatever the memory held.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def parameter_groups(model: nn.Module, config: OptimConfig) -> list[dict[str, Any]]:
    """Filters; the head; biases; scales of norms: each with the `factor` of its learning rate.

    One group of everything, where the optimizer makes no difference between them.
    """
    if config.optimizer != "muon" and config.head_lr == config.bias_lr == 1:
        return [{"params": list(model.parameters()), "factor": 1.0}]
    filters, head, biases, scales = [], [], [], []
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            (biases if name.endswith("bias") else scales).append(parameter)
        else:
            (filters if parameter.ndim == 4 else head).append(parameter)
    groups = [
        {"params": filters, "factor": 1.0, "filters": True},
        {"params": head, "factor": config.head_lr, "filters": False},
        {"params": biases, "factor": config.bias_lr, "filters": False},
        {"params": scales, "factor": 1.0, "filters": False},
    ]
    if config.optimizer == "muon":
        groups[0]["weight_decay"] = groups[3]["weight_decay"] = 0.0  # see Muon
    return [group for group in groups if group["params"]]


class Muon(torch.optim.Optimizer):
    """Orthogonalized momentum for convolutions, Nesterov SGD for the head, biases and norms.

    Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks",
    https://kellerjordan.github.io/posts/muon/, as its CIFAR-10 speedrun uses it: the filters of a
    layer, flattened to a matrix (outputs × inputs·height·width), are kept at unit norm on average,
    which the norm behind a convolution does not notice; their Nesterov momentum is made nearly
    orthogonal, so that `lr` is an angle and not a matter of the gradient's size. Weight decay is
    decoupled (p -= lr·weight_decay·p) and spares the filters, whose norm is fixed anyway, and the
    norms' scales, which it would drive to 0.

    groups: as parameter_groups makes them. lr above 0, momentum 0 to below 1.

    In fp16 it divides the gradients by torch.amp.GradScaler's scale itself, and takes a step that
    overflowed back, so that the host need not wait to learn whether one did.
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
            self._move()
            return
        moved = [p for group in self.param_groups for p in _with_gradient(group)]
        scale = getattr(self, "grad_scale", None)  # None where somebody has unscaled already
        if scale is not None:
            torch._foreach_div_([p.grad for p in moved], scale)
        state = [*moved, *self._momenta(moved)]
        before = [tensor.clone() for tensor in state]
        self._move()
        for tensor, kept in zip(state, before, strict=True):
            tensor.copy_(torch.where(overflowed > 0, kept, tensor))

    def _move(self) -> None:
        for group in self.param_groups:
            moved = _with_gradient(group)
            if group["filters"]:
                for parameter in moved:
                    self._turn(parameter, group)
            elif moved:
                self._descend(moved, group)

    def _turn(self, parameter: Tensor, group: dict[str, Any]) -> None:
        """One step of a layer's filters, [outputs, inputs, height, width]."""
        (momentum,) = self._momenta([parameter])
        momentum.mul_(group["momentum"]).add_(parameter.grad)
        direction = parameter.grad.add(momentum, alpha=group["momentum"])
        update = orthogonalize(direction.flatten(1)).view(direction.shape)
        parameter.mul_(len(parameter) ** 0.5 / parameter.norm().clamp(min=1e-12))
        parameter.add_(update.to(parameter.dtype), alpha=-group["lr"])

    def _descend(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        rate = group["lr"]
        base = rate / group["factor"] if group["factor"] else 0.0
        momenta, gradients = self._momenta(parameters), [p.grad for p in parameters]
        torch._foreach_mul_(parameters, 1 - base * group["weight_decay"])
        torch._foreach_mul_(momenta, OTHERS_MOMENTUM)
        torch._foreach_add_(momenta, gradients)
        torch._foreach_add_(parameters, gradients, alpha=-rate)
        torch._foreach_add_(parameters, momenta, alpha=-rate * OTHERS_MOMENTUM)

    def _momenta(self, parameters: list[Tensor]) -> list[Tensor]:
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return [self.state[parameter]["momentum_buffer"] for parameter in parameters]


def _with_gradient(group: dict[str, Any]) -> list[Tensor]:
    return [p for p in group["params"] if p.grad is not None]


def orthogonalize(matrix: Tensor, steps: int = NEWTON_SCHULZ_STEPS) -> Tensor:
    """A matrix [n, m] with the same singular vectors and singular values near 1, of its type.

    Newton–Schulz iteration with the quintic of Jordan et al. 2024 (see Muon), whose coefficients
    trade exactness for speed: after three steps most singular values are between 0.3 and 1.2.
    Computed in bfloat16 where the hardware has it, which is enough for that.
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
