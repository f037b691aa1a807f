"""What a run's curves say that a beginner may not see: at chance, diverged, overfitting."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from engine.runs.run import State, Status

CHANCE_MARGIN = 1.25  # less than a quarter better than guessing counts as chance
OVERFIT_EPOCHS = 3  # so many epochs without a lower validation loss while the training loss falls


def diagnose(status: Status, epochs: list[dict[str, Any]], num_classes: int) -> list[str]:
    """Plain sentences about a run and what to try; empty when nothing stands out.

    epochs: the run's epoch records, in order.
    """
    found = []
    if status.state is State.FAILED:
        found.append(status.message or "This run failed; its log tells more.")
    if epochs and max(e["val_acc"] for e in epochs) < CHANCE_MARGIN / num_classes:
        found.append(
            f"Still at chance ({100 / num_classes:.0f} %) after {len(epochs)} "
            f"{'epoch' if len(epochs) == 1 else 'epochs'}. Try a lower learning rate, a warm-up, "
            "or the architecture's own norm."
        )
    if _overfits(epochs):
        found.append(
            "The training loss still falls while the validation loss has risen for "
            f"{OVERFIT_EPOCHS} epochs: it overfits. Try more augmentation, a smaller width, or "
            "more weight decay."
        )
    return found


def _overfits(epochs: list[dict[str, Any]]) -> bool:
    if len(epochs) <= OVERFIT_EPOCHS:
        return False
    recent = epochs[-OVERFIT_EPOCHS - 1 :]
    rising = all(b["val_loss"] > a["val_loss"] for a, b in pairwise(recent))
    learning = all(b["train_loss"] < a["train_loss"] for a, b in pairwise(recent))
    return rising and learning
