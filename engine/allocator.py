"""Settings of glibc's malloc during training: freed memory is kept for the next step.

By default glibc returns every large block to the system when it is freed. Training allocates the
same blocks in each step, so each time the kernel would map and clear their pages again. With other
C libraries `kept_blocks` does nothing and `start_thread` starts an ordinary thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
import queue
import threading
from collections.abc import Callable, Iterator

# Parameters of mallopt(3), from malloc.h
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
KEPT_BYTES = 2**30  # blocks up to this size are kept
# Limit to which glibc raises its threshold by itself; before glibc 2.35, mallopt refuses more.
MAX_DYNAMIC_BYTES = 32 * 2**20
PROBE_BYTES = 64 * 1024  # too large for the thread's own cache, too small for a mapping
MAX_THREADS = 64  # exceeds the number of arenas: at most 8 per core, rarely half of them in use

_lock = threading.Lock()
_users = 0  # open `kept_blocks` contexts, in all threads


@contextlib.contextmanager
def kept_blocks() -> Iterator[None]:
    """Context that keeps freed blocks of up to 1 GiB in the process, and returns them at the end.

    Enter it before the first tensor is allocated. Of several open contexts, the last one to close
    returns the memory.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _keep_freed()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _return_to_system()


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a daemon thread that allocates from glibc's main arena, and so can keep large blocks.

    glibc assigns its arenas to new threads in turn, and only the main arena can keep blocks above
    64 MiB. So threads are started until one is assigned that arena; the others end immediately.
    """
    settled = threading.Event()
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    rejected: list[threading.Thread] = []

    def run(last: bool) -> None:
        chosen = last or _is_on_main_arena()
        answers.put(chosen)
        target() if chosen else settled.wait()

    if (libc := glibc()) is not None:
        libc.mallopt(ARENA_MAX, 1)  # no new arenas from now on
    for number in range(MAX_THREADS):
        last = number == MAX_THREADS - 1
        thread = threading.Thread(target=run, args=(last,), name=name, daemon=True)
        thread.start()
        if answers.get():
            break
        rejected.append(thread)
    settled.set()
    for other in rejected:
        other.join()
    return thread


def _is_on_main_arena() -> bool:
    """Whether malloc in this thread returns addresses below the program break: the main arena."""
    if (libc := glibc()) is None:
        return True
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    block = ctypes.c_void_p(libc.malloc(PROBE_BYTES))
    try:
        return (block.value or 0) < libc.sbrk(0)
    finally:
        libc.free(block)


def _keep_freed() -> None:
    if (libc := glibc()) is None:
        return
    if libc.mallopt(MMAP_THRESHOLD, KEPT_BYTES) or libc.mallopt(MMAP_THRESHOLD, MAX_DYNAMIC_BYTES):
        libc.mallopt(TRIM_THRESHOLD, KEPT_BYTES)


def _return_to_system() -> None:
    """Return freed memory, and set the thresholds to which glibc raises them by itself."""
    if (libc := glibc()) is not None:
        libc.mallopt(MMAP_THRESHOLD, MAX_DYNAMIC_BYTES)
        libc.mallopt(TRIM_THRESHOLD, 2 * MAX_DYNAMIC_BYTES)
        libc.malloc_trim(0)


@functools.cache
def glibc() -> ctypes.CDLL | None:
    """The C library, if it is glibc and has the functions used here."""
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError, TypeError):
        return None
