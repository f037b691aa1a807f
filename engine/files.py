"""Writing files so that a crash leaves the old or the new one whole, on every platform."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

# Windows refuses to replace a file that a reader has open; readers here hold one for milliseconds.
REPLACE_TRIES, REPLACE_WAIT_S = 20, 0.01


def write_atomic(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Replace `path` whole. With `durable`, also against a power cut (fsync of file and folder)."""
    if isinstance(content, str):
        content = content.encode()
    # So named, two processes or threads that replace the same file keep off each other's temporary.
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
    """os.replace that waits out a Windows reader."""
    for attempt in range(REPLACE_TRIES):
        try:
            os.replace(source, target)  # noqa: PTH105 - the one place that names the system call
            return
        except PermissionError:
            if os.name != "nt" or attempt == REPLACE_TRIES - 1:
                raise
            time.sleep(REPLACE_WAIT_S)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
