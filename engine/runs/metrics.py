"""Records of a run: the lines of its metrics.jsonl."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

MAX_BYTES = 64 * 2**20  # read of a file; 5,000 steps and 100,000 epochs take 30 MB
MAX_NUMBER = 1e300
NUMBERS = {  # fields of each kind of record; a record may have more
    "step": ("step", "epoch", "loss", "acc", "lr"),
    "epoch": ("epoch", "step", "train_loss", "train_acc", "val_loss", "val_acc", "lr"),
}
COUNTS = ("step", "epoch")  # whole numbers
Records = list[dict[str, Any]]


def parse(lines: list[bytes]) -> tuple[Records, int]:
    """(records, number of lines that are none); blank lines do not count."""
    records, damaged = [], 0
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # incomplete after a crash; later lines may be whole
            damaged += bool(line.strip())
            continue
        if is_record(record):
            records.append(record)
        else:
            damaged += 1
    return records, damaged


def is_record(value: Any) -> bool:
    """Whether a JSON value is a record whose fields are all finite numbers."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in ("step", "epoch"):
        return False
    whole = all(type(value.get(key)) is int and value[key] >= 0 for key in COUNTS)
    return whole and all(
        type(number := value.get(key)) in (int, float) and -MAX_NUMBER < number < MAX_NUMBER
        for key in NUMBERS[kind]
    )


def missing_epochs(
    records: Records, epochs_done: int, recorded: Iterable[tuple[int, int]] = ()
) -> list[int]:
    """Epochs that lack records: their own, if among the first `epochs_done`, or one of a step.

    recorded: (step, epoch) of each step that was recorded.
    """
    epochs = {r["epoch"] for r in records if r["kind"] == "epoch"}
    steps = {r["step"] for r in records if r["kind"] == "step"}
    missing = set(range(1, epochs_done + 1)) - epochs
    return sorted(missing | {epoch for step, epoch in recorded if step not in steps})
