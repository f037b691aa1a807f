"""Turns of the runs of a race: sessions that are suspended in memory while another one trains."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from engine.device import memory_bytes
from engine.models.summary import HELD_BYTES
from engine.runs.run import State
from engine.training.prepare import Prepared
from engine.training.records import EpochRecord, Record

TURN_S = 15.0  # shortest turn, in seconds; it goes on to the end of an epoch
MEMORY_SHARE = 0.5  # of the device's memory, for suspended sessions

Session = Generator[Record, str | None, State | None]


@dataclass
class Turn:
    """Decides when the turn of a run is over: at an epoch's checkpoint, after TURN_S seconds."""

    clock: Callable[[], float] = time.monotonic

    def __post_init__(self):
        self._begin, self._epochs = self.clock(), 0

    def is_over(self, record: Record) -> bool:
        """Whether the turn ends at this record. The epoch's checkpoint follows its record."""
        if isinstance(record, EpochRecord):
            self._epochs += 1
            return False
        return self._epochs > 0 and self.clock() - self._begin >= TURN_S


class Suspended:
    """Suspended sessions of one device, by run folder. Used by the device's thread alone."""

    def __init__(self):
        self._sessions: dict[Path, Session] = {}
        self._bytes: dict[Path, int] = {}  # of suspended and running sessions
        self._limit: float | None = None  # in bytes; None: unknown

    def __contains__(self, path: Path) -> bool:
        return path in self._sessions

    def paths(self) -> list[Path]:
        return list(self._sessions)

    def declare(self, path: Path, prepared: Prepared) -> None:
        """Note what a session holds in memory."""
        splits = prepared.splits
        images = sum(part.nbytes for part in (splits.train_images, splits.val_images))
        self._bytes[path] = HELD_BYTES * prepared.parameters + images
        total = memory_bytes(prepared.compute.device)
        self._limit = MEMORY_SHARE * total if total else None

    def has_room(self, path: Path) -> bool:
        """Whether the session of a run may be suspended beside those that are."""
        held = sum(self._bytes[each] for each in {*self._sessions, path})
        return self._limit is None or held <= self._limit

    def add(self, path: Path, session: Session) -> bool:
        """Suspend the session of a run; False if it has ended instead, as on a full disk."""
        try:
            session.send("wait")
        except StopIteration:
            return False
        self._sessions[path] = session
        return True

    def take(self, path: Path) -> Session | None:
        """Remove and return the suspended session of a run, if there is one."""
        return self._sessions.pop(path, None)
