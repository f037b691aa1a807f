"""What a checkpoint holds of a training, and how a training goes on from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engine.runs.checkpoint import Checkpoint, apply_weights
from engine.training.records import StepRecord

if TYPE_CHECKING:
    from engine.training.loop import Trainer


@dataclass
class Position:
    """How far the run is, and everything but tensors that a resume needs."""

    step: int = 0  # steps done
    epochs_done: int = 0  # epochs validated
    loss_sum: float = 0.0  # over this epoch's images, each batch weighted by its size
    acc_sum: float = 0.0
    images: int = 0
    epoch_seconds: float = 0.0
    seconds: float = 0.0
    best_acc: float | None = None
    best_epoch: int | None = None
    pending: list[dict[str, Any]] = field(default_factory=list)  # step records not yielded yet


def capture(trainer: Trainer) -> dict[str, Any]:
    """Everything but the weights that `restore` needs; the tensors in it are not copied."""
    p = trainer.position
    p.pending = [vars(record) for record in trainer.pending]
    return {
        **vars(p),
        "latest": trainer.latest,
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "average": trainer.average.state_dict() if trainer.average else None,
    }


def restore(trainer: Trainer, checkpoint: Checkpoint, expected: dict[str, str]) -> None:
    """Set a new trainer to where the checkpoint was taken.

    expected: the header that weights for this network carry; CheckpointError if these do not.
    """
    state = dict(checkpoint.state)
    apply_weights(trainer.model, checkpoint.weights, checkpoint.header, expected)
    optimizer = state.pop("optimizer")
    for group in optimizer["param_groups"]:
        if "fused" in group:
            group["fused"] = True  # checkpoints of old were not; what they hold is the same
    trainer.optimizer.load_state_dict(optimizer)
    _lay_out_alike(trainer.optimizer)
    if scaler := state.pop("scaler"):  # empty without fp16: a resume may be on another device
        trainer.scaler.load_state_dict(scaler)
    if (average := state.pop("average", None)) and trainer.average:
        trainer.average.load_state_dict(average)
    trainer.latest = tuple(state.pop("latest"))
    trainer.position = Position(**state)
    trainer.pending.extend(StepRecord(**values) for values in trainer.position.pending)


def _lay_out_alike(optimizer: torch.optim.Optimizer) -> None:
    """Give what belongs to a weight that weight's memory format: fused kernels rely on it.

    They differ when the checkpoint comes from another device or precision.
    """
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            if torch.is_tensor(value) and value.shape == parameter.shape and value.ndim:
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def are_finite(weights: dict[str, Tensor]) -> bool:
    """Whether no weight has overflowed; waits for the device once."""
    floats = [t.isfinite().all() for t in weights.values() if t.is_floating_point()]
    return bool(torch.stack(floats).all())
