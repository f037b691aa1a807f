"""Training state: everything that a checkpoint stores."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from engine.training.average import WeightAverage
from engine.training.records import StepRecord


@dataclass
class Position:
    """Progress of a run, and running sums. A checkpoint stores every field by name."""

    step: int = 0  # optimizer steps done
    epochs_done: int = 0  # epochs trained and validated
    loss_sum: float = 0.0  # over this epoch's images: batch means weighted by batch size
    acc_sum: float = 0.0
    images: int = 0  # trained on in this epoch so far
    epoch_seconds: float = 0.0
    seconds: float = 0.0  # of the run, over all of its sessions
    best_acc: float | None = None
    best_epoch: int | None = None
    pending: deque[StepRecord] = field(default_factory=deque)  # read, but not yielded yet
    latest: tuple[float, float, float] = (math.nan, math.nan, 0.0)  # last loss, acc and lr read


class TrainState:
    """Model, optimizer, gradient scaler, weight average and position of a run."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        average: WeightAverage | None = None,
    ):
        self.model, self.optimizer, self.scaler, self.average = model, optimizer, scaler, average
        self.position = Position()

    def result(self) -> dict[str, Tensor]:
        """State dict of the run's resulting weights: the average, if there is one."""
        return self.average.weights() if self.average else self.model.state_dict()

    def state_dict(self) -> dict[str, Any]:
        """Everything but the weights of the model, which a checkpoint stores as safetensors.

        Tensors are references, not copies.
        """
        position = self.position
        return {
            **vars(position),
            "pending": [vars(record) for record in position.pending],
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, on any device and in any precision.

        Load the weights of the model first: the optimizer's state takes their memory format.
        """
        position = dict(state_dict)
        optimizer = dict(position.pop("optimizer"))
        # Checkpoints from before the fused optimizers have fused=None; the state is the same.
        optimizer["param_groups"] = [
            {**group, "fused": True} if "fused" in group else group
            for group in optimizer["param_groups"]
        ]
        groups = self.optimizer.state_dict()["param_groups"]
        if len(groups) != len(optimizer["param_groups"]):
            # Saved before the head's bias had its own group: the same parameters in the same order.
            # Learning rates are set at each step, the other options by the config.
            optimizer["param_groups"] = groups
        self.optimizer.load_state_dict(optimizer)
        _match_memory_format(self.optimizer)
        if scaler := position.pop("scaler"):  # empty unless saved in fp16
            self.scaler.load_state_dict(scaler)
        if (average := position.pop("average", None)) and self.average:
            self.average.load_state_dict(average)
        position["pending"] = deque(StepRecord(**values) for values in position["pending"])
        position["latest"] = tuple(position["latest"])
        self.position = Position(**position)


def _match_memory_format(optimizer: torch.optim.Optimizer) -> None:
    """Give each parameter's state the parameter's memory format, which fused kernels rely on.

    They differ when the checkpoint comes from another device or precision.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape and value.ndim:
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def are_finite(weights: dict[str, Tensor]) -> bool:
    """Whether every floating-point weight is finite. Synchronizes with the device once."""
    floats = [t.isfinite().all() for t in weights.values() if t.is_floating_point()]
    return bool(torch.stack(floats).all())
