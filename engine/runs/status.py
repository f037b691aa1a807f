"""Status of a run: the contents of its status.json."""

from __future__ import annotations

import dataclasses
import types
import typing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

MAX_NUMBER = 1e11  # of any field: seconds since 1970 stay a date


class State(StrEnum):
    """State of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"  # for its turn, suspended in memory; see Status.race
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    DAMAGED = "damaged"  # never stored: status.json, or config.json, cannot be read


HELD = (State.RUNNING, State.WAITING)  # held by a process
RESUMABLE = (State.PAUSED, State.STOPPED, State.FAILED, State.INTERRUPTED)


@dataclass(frozen=True)
class Status:
    """Contents of status.json. Accuracies are from 0 to 1; times are seconds or Unix time."""

    state: State = State.QUEUED
    phase: str = ""  # shown to the user: "training", "reading shapes" …
    message: str = ""  # reason of a failure, one line
    lasting: bool = False  # of a failure: the same settings would fail again
    notes: list[str] = dataclasses.field(default_factory=list)  # remarks of the latest session
    created: float = 0.0
    queued: float = 0.0  # time of the last submission; orders the queue
    updated: float = 0.0
    step: int = 0
    steps: int = 0
    epoch: int = 0  # current epoch, from 1
    epochs: int = 0
    images_per_s: float = 0.0
    batch_seconds: float = 0.0
    eta_seconds: float | None = None
    eta_settled: bool = True  # False: a first guess
    seconds: float = 0.0  # training time of all sessions
    final_acc: float | None = None  # validation accuracy after the last finished epoch
    tta_acc: float | None = None  # final_acc with test-time augmentation, if asked for
    test_acc: float | None = None  # on the test images after the last epoch, if others are held out
    best_acc: float | None = None
    best_epoch: int | None = None
    val_is_test: bool = True  # best_acc was then selected on test data
    val_seen: int | None = 0  # validation images that the initial weights were trained on
    parameters: int | None = None
    study: str = ""  # the study that the run belongs to
    race: str = ""  # queued runs of the same race take turns
    compute: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Status:
        """The status that `values` hold; unknown fields are ignored.

        Raises KeyError without a state, ValueError for a value of the wrong type or out of range.
        """
        kinds = typing.get_type_hints(cls)
        kept = {key: value for key, value in values.items() if key in kinds and key != "state"}
        for key, value in kept.items():
            if not _fits(value, kinds[key]):
                raise ValueError(f"{key} is {str(value)[:60]!r}")
        state = State(values["state"])
        if state is State.DAMAGED:
            raise ValueError("the state is not stored")
        return cls(**{**kept, "state": state})


def _fits(value: Any, kind: Any) -> bool:
    """Whether `value`, from JSON, is of a type such as `int | None`, and within range."""
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if type(value) in (int, float):
        known = float in kinds or (type(value) is int and int in kinds)
        return known and 0 <= value <= MAX_NUMBER
    if isinstance(value, list):
        return list[str] in kinds and all(isinstance(item, str) for item in value)
    return type(value) in [typing.get_origin(each) or each for each in kinds]
