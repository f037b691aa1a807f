"""Common problems read off a run's curves: accuracy at chance, divergence, overfitting."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from engine.advice import FEW_STEPS
from engine.runs.run import State, Status

CHANCE_MARGIN = 1.25  # times the accuracy of guessing; below it a network is at chance
OVERFIT_EPOCHS = 3  # of rising validation loss and falling training loss


def diagnose(
    status: Status, epochs: list[dict[str, Any]], num_classes: int, warmup: float = 0.0
) -> list[str]:
    """Sentences that name a problem and what to try; empty if there is none.

    epochs: the run's epoch records, in order. warmup: epochs in which the learning rate rises.
    """
    found = []
    if status.state is State.DAMAGED and status.message:
        found.append(status.message)
    learned = [e for e in epochs if e["epoch"] > warmup]  # a network learns little while it rises
    if learned and max(e["val_acc"] for e in epochs) < CHANCE_MARGIN / num_classes:
        try_this = "a lower learning rate, a warm-up, or the architecture's own norm"
        if 0 < status.steps < FEW_STEPS:
            try_this = f"more epochs ({status.steps} steps are few) or pretrained weights"
        found.append(
            f"Accuracy is still at chance level ({100 / num_classes:.0f} %) after {len(epochs)} "
            f"{'epoch' if len(epochs) == 1 else 'epochs'}. Try {try_this}."
        )
    if _overfits(epochs):
        found.append(
            "The network overfits: the validation loss has risen for "
            f"{OVERFIT_EPOCHS} epochs while the training loss still falls. Try more "
            "augmentation, a smaller width, or more weight decay."
        )
    return found


def _overfits(epochs: list[dict[str, Any]]) -> bool:
    if len(epochs) <= OVERFIT_EPOCHS:
        return False
    recent = epochs[-OVERFIT_EPOCHS - 1 :]
    rising = all(b["val_loss"] > a["val_loss"] for a, b in pairwise(recent))
    learning = all(b["train_loss"] < a["train_loss"] for a, b in pairwise(recent))
    return rising and learning
