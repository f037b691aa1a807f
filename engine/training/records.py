"""Records that `fit` yields. Step and epoch records are stored; the others are for display."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class StepRecord:
    """One training step. Accuracy is a fraction, measured on the augmented batch."""

    step: int  # steps done, from 1
    epoch: int  # from 1
    loss: float
    acc: float
    lr: float
    images_per_s: float

    def to_dict(self) -> dict[str, Any]:
        return {"kind": "step", **dataclasses.asdict(self)}


@dataclass(frozen=True)
class EpochRecord:
    """One epoch. Training metrics are means over augmented batches, while the weights change."""

    epoch: int
    step: int
    train_loss: float
    train_acc: float
    val_loss: float
    val_acc: float
    lr: float  # of the epoch's last step
    seconds: float  # training and validation
    val_acc_tta: float | None = None  # with test-time augmentation; last epoch only, if enabled
    test_acc: float | None = None  # on the test images; last epoch only, if others are held out
    # Label of each validation image, a byte each, for engine.runs.history; empty: too many classes
    predicted: bytes = field(default=b"", repr=False)

    def to_dict(self) -> dict[str, Any]:
        fields = dataclasses.asdict(self)
        del fields["predicted"]
        for name in ("val_acc_tta", "test_acc"):
            if fields[name] is None:
                del fields[name]
        return {"kind": "epoch", **fields}


@dataclass(frozen=True)
class Started:
    """The first record: where this session of the run starts from (0, 0 for a new run)."""

    step: int
    epochs_done: int
    steps: int  # of the whole run
    best_acc: float | None
    best_epoch: int | None
    seconds: float
    recorded: tuple[tuple[int, int], ...] = ()  # (step, epoch) of the step records yielded before


@dataclass(frozen=True)
class ProgressRecord:
    """Progress of the run, a few times a second; all earlier records have been yielded."""

    phase: str  # "compiling", "training", "validating", "testing" or "saving"
    step: int
    epoch: int
    loss: float
    acc: float
    lr: float
    images_per_s: float  # averaged over recent steps
    batch_seconds: float
    eta_seconds: float | None  # time left, with validation; None before the first steps
    eta_settled: bool  # whether eta_seconds is a reliable estimate
    seconds: float  # spent on this run so far


@dataclass(frozen=True)
class Note:
    """One line for the log: a deviation from the config that does not stop training."""

    text: str


Record = StepRecord | EpochRecord | Started | ProgressRecord | Note
