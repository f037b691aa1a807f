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
WATCH_S = 0.5  # for a look at the folders of a data set, repeated every few seconds


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
    for count, (below, is_folder) in enumerate(_scan(path)):
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


def folder_times(path: Path) -> tuple[int, ...] | None:
    """Modification times (ns) and sizes of a folder and all folders below.

    None if there are more than MAX_ENTRIES files and folders, or if it takes longer than WATCH_S.
    """
    end, names = time.monotonic() + WATCH_S, [""]
    for count, (below, is_folder) in enumerate(_scan(path)):
        if count >= MAX_ENTRIES or time.monotonic() > end:
            return None
        if is_folder:
            names.append(below)
    stats = [(path / name).stat() for name in sorted(names)]
    return tuple(number for stat in stats for number in (stat.st_mtime_ns, stat.st_size))


def _scan(path: Path) -> Iterator[tuple[str, bool]]:
    """(relative path, whether it is a folder) of all below, each folder before what is in it.

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
                    yield below, is_folder
                    if is_folder and not is_clutter(entry.name):
                        waiting.append(below)
        except OSError:  # not readable, or deeper than the system allows
            continue


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
