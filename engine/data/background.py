"""Downloads and imports on background threads; data sets are loaded once, whoever asks."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine import data
from engine.data.progress import Progress
from engine.errors import Cancelled


class Task:
    """A call on a daemon thread, with its `progress`, `result`, `error` and `running`.

    call: given the keyword arguments progress and cancelled, see engine.data.load. kept: what a
    cancelled call has kept, for its message.
    """

    def __init__(self, call: Callable[..., Any], name: str, kept: str = "nothing was kept"):
        self.progress: Progress | None = None
        self.result: Any = None  # of the call, once it has ended
        self.error = ""  # one line, set if it fails
        self._cancel = threading.Event()
        self._call, self._kept = call, kept
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Request cancellation."""
        self._cancel.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for `timeout` seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self.result = self._call(
                progress=lambda now: setattr(self, "progress", now),
                cancelled=self._cancel.is_set,
            )
        except Cancelled:
            self.error = f"Cancelled; {self._kept}."
        except Exception as error:  # MemoryError, for one; nobody else would tell it
            self.error = str(error) or type(error).__name__


class Fetch(Task):
    """A download or import of a data set."""

    def __init__(self, dataset: str, root: Path, url: str | None = None, fit: str = "crop"):
        kept = "what was downloaded is kept for the next try"
        super().__init__(
            functools.partial(_load, dataset, root, url, fit), f"fetch-{dataset}", kept
        )


def _load(dataset: str, root: Path, url: str | None, fit: str, **watch: Any) -> None:
    data.load(dataset, root, url=url, fit=fit, **watch)  # without the result: it is cached


_fetches: dict[tuple[str, Path, str], Fetch] = {}
_lock = threading.Lock()


def current(dataset: str, root: Path, fit: str = "crop") -> Fetch | None:
    """The latest fetch of a data set in this process, running or not; None if there is none."""
    return _fetches.get((dataset, Path(root), fit))


def start(dataset: str, root: Path, url: str | None = None, fit: str = "crop") -> Fetch:
    """Start a fetch, or return the one that is running."""
    with _lock:
        fetch = current(dataset, root, fit)
        if fetch is None or not fetch.running:
            fetch = _fetches[dataset, Path(root), fit] = Fetch(dataset, root, url, fit)
        return fetch
