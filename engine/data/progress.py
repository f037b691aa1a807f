"""Progress and cancellation of long preparations, and the locks that they wait for."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from engine.errors import Cancelled

REPORT_SECONDS = 0.1  # at most ten reports a second: enough for a smooth bar, cheap to draw
RATE_REPORTS = 50  # the rate is an average over this many reports, about five seconds
LOCK_POLL_SECONDS = 0.2  # how long a cancellation may go unnoticed while waiting for a lock


class Progress(NamedTuple):
    """Progress of a download or import: `done` of `total` (None: unknown), in `unit`s.

    unit: "bytes", "images", "files", or "" for a step without a count.
    """

    message: str
    done: int
    total: int | None
    unit: str
    rate: float | None  # units per second over the last seconds; None while unknown

    @property
    def fraction(self) -> float:
        """The part that is done, 0 to 1; 0 if the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else 0.0

    def describe(self) -> str:
        """One line such as "downloading cifar10: 50 of 170 MB, 1.0 MB/s, 2.0 min left"."""
        if not self.unit:
            return self.message
        in_mb = self.unit == "bytes"
        unit, scale, digits = ("MB", 1e6, 1) if in_mb else (self.unit, 1, 0)
        of_total = f" of {self.total / scale:,.0f}" if self.total else ""
        parts = [f"{self.done / scale:,.0f}{of_total} {unit}"]
        if self.rate:
            parts.append(f"{self.rate / scale:,.{digits}f} {unit}/s")
            if self.total:
                parts.append(f"{format_duration((self.total - self.done) / self.rate)} left")
        return f"{self.message}: {', '.join(parts)}"


def format_duration(seconds: float) -> str:
    """Format seconds, for example as "40 s", "12 min", "3.5 h" or "3.0 days"."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            digits = 1 if seconds < 10 * size else 0
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds:.0f} s"


class Watch:
    """Rate-limits progress reports, and raises Cancelled on request."""

    def __init__(
        self,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ):
        self._progress = progress
        self._cancelled = cancelled
        self._message = ""
        self._due = 0.0
        self._history: deque[tuple[float, int]] = deque(maxlen=RATE_REPORTS)

    def check(self) -> None:
        """Raise Cancelled if cancellation was requested."""
        if self._cancelled is not None and self._cancelled():
            raise Cancelled("cancelled")

    def tick(self, message: str, done: int = 0, total: int | None = None, unit: str = "") -> None:
        """Report, unless the last report is too fresh. The first and last of a message are kept."""
        now = time.monotonic()
        if message != self._message:
            self._message, self._due = message, now
            self._history.clear()
        if now < self._due and done != total:
            return
        self._due = now + REPORT_SECONDS
        self.check()
        if self._history and done < self._history[-1][1]:  # started over
            self._history.clear()
        self._history.append((now, done))
        if self._progress is not None:
            self._progress(Progress(message, done, total, unit, self._rate()))

    def _rate(self) -> float | None:
        (start, first), (end, last) = self._history[0], self._history[-1]
        return (last - first) / (end - start) if end > start else None

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than a cancellation allows."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.check()
            time.sleep(min(left, LOCK_POLL_SECONDS))


@contextmanager
def hold(path: Path, watch: Watch, message: str) -> Iterator[None]:
    """Hold the file lock at `path`; while another process has it, report `message` and wait.

    Raises Cancelled, or OSError where the lock file cannot be made.
    """
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=0)
            break
        except Timeout:
            watch.tick(message)
            watch.sleep(LOCK_POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()
