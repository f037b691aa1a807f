"""What is below a folder of a user, listed within bounds."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.data import zips
from engine.data.clutter import is_clutter
from engine.data.progress import Watch
from engine.errors import DataError

MAX_ENTRIES = zips.MAX_ENTRIES  # also ends the listing of a whole disk given by mistake
WATCH_S = 1.0  # for a look at the files of a data set, repeated every few seconds


@dataclass(frozen=True)
class Listing:
    """Relative paths below a folder: all files, sorted, all folders, and clutter, not entered."""

    files: list[str]
    folders: list[str]
    ignored: list[str]


def list_folder(path: Path, watch: Watch) -> Listing:
    """List what is below a folder. Links are followed, each folder is listed once.

    Raises DataError for more than MAX_ENTRIES files and folders.
    """
    files, folders, ignored = [], [], []
    for count, (below, _entry, is_folder) in enumerate(_scan(path)):
        watch.tick(f"listing {path.name}", count, None, "files")
        if count >= MAX_ENTRIES:
            raise DataError(
                f"{path.name}: more than {MAX_ENTRIES} files and folders; is this the right folder?"
            )
        if is_clutter(below.rpartition("/")[2]):
            ignored.append(below)
        else:
            (folders if is_folder else files).append(below)
    return Listing(sorted(files), sorted(folders), ignored)


def folder_state(path: Path) -> int | None:
    """A hash of the paths below a folder, and of the modification times and sizes of the files.

    Valid in this process only. None if there are more than MAX_ENTRIES files and folders, or if it
    takes longer than WATCH_S.
    """
    end, found = time.monotonic() + WATCH_S, []
    for count, (below, entry, is_folder) in enumerate(_scan(path)):
        if count >= MAX_ENTRIES or time.monotonic() > end:
            return None
        found.append((below, *((0, 0) if is_folder else _time_and_size(entry))))
    return hash(frozenset(found))  # a folder may list the same files in another order


def _time_and_size(entry: os.DirEntry) -> tuple[int, int]:
    """Modification time (ns) and size of a file; zeros for a broken link."""
    try:
        about = entry.stat()
    except OSError:
        return 0, 0
    return about.st_mtime_ns, about.st_size


def _scan(path: Path) -> Iterator[tuple[str, os.DirEntry, bool]]:
    """(relative path, entry, is it a folder) of all below, each folder before what is in it.

    Clutter is not entered, nor is a folder that links lead back to.
    """
    waiting, seen = [""], set()
    while waiting:
        folder = waiting.pop()
        try:
            about = (path / folder).stat()
            if (about.st_dev, about.st_ino) in seen:
                continue
            seen.add((about.st_dev, about.st_ino))
            with os.scandir(path / folder) as entries:
                for entry in entries:
                    below = f"{folder}/{entry.name}" if folder else entry.name
                    is_folder = _is_folder(entry)
                    yield below, entry, is_folder
                    if is_folder and not is_clutter(entry.name):
                        waiting.append(below)
        except OSError:  # not readable, or deeper than the system allows
            continue


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
