"""Loading data sets on background threads, one for each data set."""

from __future__ import annotations

import threading
from pathlib import Path

from engine import data
from engine.data.progress import Progress
from engine.errors import Cancelled


class Fetch:
    """A download or import on a daemon thread, with its `progress`, `error` and `running`."""

    def __init__(self, dataset: str, root: Path, url: str | None = None, fit: str = "crop"):
        self.progress: Progress | None = None
        self.error = ""  # one line, set if it fails
        self._cancel = threading.Event()
        self._thread = threading.Thread(
            target=self._load, args=(dataset, root, url, fit), name=f"fetch-{dataset}", daemon=True
        )
        self._thread.start()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def cancel(self) -> None:
        """Request cancellation; the part of a file that was downloaded is kept."""
        self._cancel.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or for `timeout` seconds."""
        self._thread.join(timeout)

    def _load(self, dataset: str, root: Path, url: str | None, fit: str) -> None:
        try:
            data.load(
                dataset,
                root,
                url=url,
                fit=fit,
                progress=lambda now: setattr(self, "progress", now),
                cancelled=self._cancel.is_set,
            )
        except Cancelled:
            self.error = "Cancelled; what was downloaded is kept for the next try."
        except (OSError, ValueError) as error:
            self.error = str(error)


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
