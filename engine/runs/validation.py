"""What a run's accuracies were measured on, in words."""

from __future__ import annotations


def seen_clause(val_seen: int | None) -> str:
    """A clause behind "held-out images" or "test images"; empty where none were trained on.

    val_seen: validation images that the initial weights were trained on; None: perhaps some.
    """
    if val_seen is None:
        return ", some of which the initial weights may have been trained on"
    return f", {val_seen:,} of which the initial weights were trained on" if val_seen else ""
