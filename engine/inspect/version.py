"""A copy of weights that a training replaces, so that one version of them can be inspected."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from engine.files import open_regular, remove, write_atomic

BESIDE = ("config.json", "status.json")  # what a network is loaded with
MAX_AGE_S = 24 * 3600.0  # of a copy


def keep(weights: Path, folder: Path) -> tuple[Path, tuple[int, int]]:
    """Copy a run's file of weights, with what its network is loaded with, into `folder`.

    Copies older than a day are removed. Returns the copy, and the modification time (ns) and size
    of the file that it was made from. Raises OSError.
    """
    with open_regular(weights) as file:  # its training replaces the file, not its content
        about = os.fstat(file.fileno())
        place = folder / f"{weights.parent.name}-{weights.stem}-{about.st_mtime_ns}"
        copy = place / weights.name
        if not copy.exists():
            place.mkdir(parents=True, exist_ok=True)
            for name in BESIDE:
                write_atomic(place / name, (weights.parent / name).read_bytes(), durable=False)
            write_atomic(copy, file.read(), durable=False)
    _remove_old(folder)
    return copy, (about.st_mtime_ns, about.st_size)


def _remove_old(folder: Path) -> None:
    for place in folder.iterdir():
        with contextlib.suppress(OSError):  # another process removes it
            if time.time() - place.stat().st_mtime > MAX_AGE_S:
                remove(place)
