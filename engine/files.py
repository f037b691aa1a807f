"""Atomic file replacement on every platform."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

# Windows refuses to replace a file that is open; readers here keep one open for milliseconds.
REPLACE_TRIES, REPLACE_WAIT_S = 20, 0.01


def expand_user(path: str | Path) -> Path:
    """The path with its leading `~`, which a shell expands and a form does not; else as it is."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # an unknown user
        return Path(path)


def write_atomic(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write `content` to a temporary file and rename it to `path`.

    A reader, or a crash at any time, sees either the old or the new content. With `durable`, so
    does a power failure (fsync of the file and its folder). Raises OSError.
    """
    if isinstance(content, str):
        content = content.encode()
    # Unique per process and thread, so that concurrent writers do not share a temporary file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def replace(source: Path, target: Path) -> None:
    """os.replace, retried on Windows while a reader has the target open."""
    for attempt in range(REPLACE_TRIES):
        try:
            os.replace(source, target)  # noqa: PTH105 - the only use of the system call
            return
        except PermissionError:
            if os.name != "nt" or attempt == REPLACE_TRIES - 1:
                raise
            time.sleep(REPLACE_WAIT_S)


def sync_folder(folder: Path) -> None:
    """Flush the entries of `folder` to disk after a rename. A no-op on Windows."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
