"""Files on all platforms: atomic replacement, bounded reading, leftovers of killed processes."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, TypeVar

T = TypeVar("T")
# Windows refuses to replace a file that is open; readers here keep one open for milliseconds.
RETRIES, RETRY_WAIT_S = 20, 0.01
STALE_S = 3600.0  # age from which a temporary file, written within seconds, is a leftover
# Names that write_atomic and engine.runs.folder give; the group is the process id.
TEMPORARY = re.compile(r"\..+\.(\d+)(?:-\d+)?\.(?:tmp|trash)")
KINDS = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def expand_user(path: str | Path) -> Path:
    """Expand a leading `~`, as a shell does, for paths from a form."""
    try:
        return Path(path).expanduser()
    except RuntimeError:  # an unknown user
        return Path(path)


def write_atomic(path: Path, content: bytes | str, *, durable: bool = True) -> None:
    """Write `content` to a temporary file and rename it to `path`.

    Readers see either the old or the new content, also after a crash and, if `durable`, after a
    power failure (fsync of the file and its folder). Raises OSError.
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
    _retry(lambda: os.replace(source, target))  # noqa: PTH105 - the only use of the system call


def _retry(call: Callable[[], T]) -> T:
    """Call this again on Windows, where a file is locked for a moment as others use it."""
    for _ in range(RETRIES if os.name == "nt" else 0):
        try:
            return call()
        except PermissionError:
            time.sleep(RETRY_WAIT_S)
    return call()


def sync_folder(folder: Path) -> None:
    """Flush the entries of `folder` to disk after a rename.

    A no-op on Windows, and on file systems that cannot: some on networks or in user space.
    """
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(handle)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises OSError, also for a folder, pipe, socket or device: opening a pipe may block, and a
    device may have no end.
    """
    _check_regular(Path(path).stat())
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    handle = os.open(path, flags)  # without blocking: it may have been replaced by a pipe
    try:
        _check_regular(os.fstat(handle))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def sha256(path: Path) -> str:
    """SHA-256 of a regular file, in hexadecimal. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_regular(path: Path, limit: int) -> bytes:
    """Contents of a regular file of at most `limit` bytes. Raises OSError, as open_regular does."""
    with _retry(lambda: open_regular(path)) as file:  # it may be replaced at this moment
        content = file.read(limit + 1) or b""  # None where a special file has nothing to read
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit / 2**20:g} MB")
    return content


def _check_regular(about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise OSError(errno.EINVAL, f"a {kind_of(about)}, not a file")


def kind_of(about: os.stat_result) -> str:
    """Kind of a file, such as "file", "folder", "pipe" or "device"."""
    return KINDS.get(stat.S_IFMT(about.st_mode), "file")


def reason(error: OSError) -> str:
    """Reason for a failed read or write and advice, for the end of a message."""
    text = error.strerror or str(error)
    if error.errno in FULL:
        return f"{text}; free some space"
    if error.errno in FORBIDDEN and os.name == "nt":  # an open file is reported in the same way
        return f"{text}; close other programs that use it, or check the folder's permissions"
    return f"{text}; check the folder's permissions" if error.errno in FORBIDDEN else text


def sweep(folder: Path) -> None:
    """Remove temporary files and folders that killed processes left over an hour ago."""
    try:
        leftovers = [path for path in folder.iterdir() if _is_leftover(path)]
    except OSError:
        return
    for path in leftovers:
        remove(path)


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as possible."""
    try:
        path.unlink()
    except FileNotFoundError:
        return
    except OSError:
        shutil.rmtree(path, ignore_errors=True)


def _is_leftover(path: Path) -> bool:
    match = TEMPORARY.fullmatch(path.name)
    if not match:
        return False
    try:
        return time.time() - path.lstat().st_mtime > STALE_S and not _is_process(int(match[1]))
    except OSError:
        return False


def _is_process(number: int) -> bool:
    if os.name == "nt":  # os.kill would end it
        return False
    try:
        os.kill(number, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
