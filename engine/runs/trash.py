"""Deleted runs that can still be restored: the folder .trash beside the runs.

A run is moved there, and back, by one rename, so that none is ever half deleted. It is removed for
good after KEEP_S seconds, at the next start of the app or the next deletion.
"""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from engine import files
from engine.errors import RunError
from engine.files import replace
from engine.runs import folder
from engine.runs.run import Run

FOLDER = ".trash"
KEEP_S = 24 * 3600


@dataclass(frozen=True)
class Discarded:
    """A run in the trash."""

    path: Path
    name: str
    when: float  # Unix time


def discard(run: Run) -> Discarded | None:
    """Delete a run so that it can be restored. Raises RunError while it is training.

    None if it was deleted for good, because no folder could be made for it, as on a full disk.
    """
    folder.check_unused(run)
    root, now = run.path.parent, time.time()
    purge(root)
    target = root / FOLDER / f"{time.time_ns()}-{run.name}"
    try:
        target.parent.mkdir(exist_ok=True)
    except OSError:
        folder.delete(run)
        return None
    try:
        replace(run.path, target)
    except OSError as error:
        raise RunError(f"run {run.name!r} cannot be deleted: {files.reason(error)}") from error
    return Discarded(target, run.name, now)


def discarded(root: Path) -> list[Discarded]:
    """The runs in the trash, the latest first."""
    found = []
    for path in _entries(root):
        nanoseconds, _, name = path.name.partition("-")
        if nanoseconds.isdecimal() and name:
            found.append(Discarded(path, name, int(nanoseconds) / 1e9))
    return sorted(found, key=lambda entry: entry.when, reverse=True)


def restore(entry: Discarded) -> Run:
    """Move a run back, as name-2 where another run has its name by now.

    Raises RunError if it is gone, or cannot be moved.
    """
    root = entry.path.parent.parent
    name = folder.free_name(root, entry.name)
    try:
        replace(entry.path, root / name)
    except FileNotFoundError:
        raise RunError(f"run {entry.name!r} was permanently deleted in the meantime") from None
    except OSError as error:
        raise RunError(f"run {entry.name!r} cannot be restored: {files.reason(error)}") from error
    return Run(root / name)


def purge(root: Path, older_s: float = KEEP_S) -> None:
    """Remove for good what was deleted more than `older_s` seconds ago."""
    for entry in discarded(root):
        if time.time() - entry.when >= older_s:
            # Renamed first: what a killed process leaves is no run, and is swept up later.
            leftover = root / f".{entry.name}.{os.getpid()}.trash"
            try:
                replace(entry.path, leftover)
            except OSError:
                continue
            shutil.rmtree(leftover, ignore_errors=True)


def _entries(root: Path) -> list[Path]:
    try:
        return list((root / FOLDER).iterdir())
    except OSError:
        return []
