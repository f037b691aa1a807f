"""Records of runs, read once for all sessions, and what is computed from them."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from engine.runs.metrics import MAX_BYTES, Records
from engine.runs.run import Run

MAX_COMPUTED = 32  # of each run: charts of different smoothing, for example

T = TypeVar("T")
Version = tuple[int, ...]


class History:
    """The records of one run. Of a file that has grown, only what is new is read and parsed."""

    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()  # the first of many sessions reads, the others wait for it
        self._version: Version | None = None
        self._records: Records = []
        self._offset = 0  # bytes that have been read
        self._computed: dict[Any, Any] = {}

    def records(self) -> Records:
        """All records; a new list when there are new ones, and never to be changed."""
        with self._lock:
            return self._read()

    def compute(self, function: Callable[..., T], *given: Any) -> T:
        """function(records, *given), computed once for each change of the records."""
        with self._lock:
            records = self._read()
            key = (function, *given)
            if key not in self._computed:
                if len(self._computed) >= MAX_COMPUTED:
                    self._computed.clear()
                self._computed[key] = function(records, *given)
            return self._computed[key]

    def _read(self) -> Records:
        version = _version(self._path)
        if version == self._version:
            return self._records
        if not _has_grown(self._version, version):
            self._records, self._offset = [], 0
        new: Records = []
        if version is not None and self._offset < MAX_BYTES:
            new, self._offset = Run(self._path).records(self._offset)
        self._records, self._version, self._computed = [*self._records, *new], version, {}
        return self._records


def _version(path: Path) -> Version | None:
    """What changes with the records; None before the first.

    A resume replaces the file, and config.json too, so that a run of the same name as one that was
    deleted does not pass for it.
    """
    try:
        records = (path / "metrics.jsonl").stat()
    except OSError:
        return None
    begun = 0
    with contextlib.suppress(OSError):
        begun = (path / "config.json").stat().st_mtime_ns
    return begun, records.st_ino, records.st_size, records.st_mtime_ns


def _has_grown(before: Version | None, now: Version | None) -> bool:
    if before is None or now is None:
        return False
    return before[:2] == now[:2] and before[2] < now[2]


@functools.lru_cache(maxsize=64)
def _history(path: Path) -> History:
    return History(path)


def records(run: Run) -> Records:
    """All of a run's records. Shared by all sessions: not to be changed."""
    return _history(run.path).records()


def compute(run: Run, function: Callable[..., T], *given: Any) -> T:
    """function(records, *given), computed once for each new record and shared by all sessions.

    The result is not to be changed; the arguments are hashable.
    """
    return _history(run.path).compute(function, *given)


def epochs(run: Run) -> Records:
    """A run's epoch records, read again only when the file changed. Shared: not to be changed."""
    version = _version(run.path)
    return _epochs(run.path, version) if version else []


@functools.lru_cache(maxsize=256)
def _epochs(path: Path, version: Version) -> Records:
    return Run(path).epochs()
