"""The C allocator's settings while a network computes, and giving the memory back afterwards.

glibc returns every large block to the system as soon as it is freed, and asks for it again in the
next step: the kernel then clears each page anew. A training frees and takes the same blocks in
every step, so it keeps them. Elsewhere than in glibc all of this does nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import platform
import queue
import threading
from collections.abc import Callable, Iterator

# mallopt's parameters (malloc.h)
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
KEEP = 2**30
# Where glibc's own adaptation ends (mallopt(3)); more is refused before glibc 2.35.
LARGEST_OWN = 32 * 2**20
PROBE = 64 * 1024  # bytes: more than a thread keeps for itself, less than gets a mapping
TRIES = 64  # more threads than arenas; there are at most 8 a core, and seldom half of them

_lock = threading.Lock()
_users = 0  # that keep blocks right now, in any thread


@contextlib.contextmanager
def kept_blocks() -> Iterator[None]:
    """Keep freed blocks of up to 1 GiB for the next step, and give them back at the end.

    Enter before the first tensor is made. The last of several at the same time gives back.
    """
    global _users
    with _lock:
        _users += 1
        if _users == 1:
            _keep()
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _give_back()


def start_thread(target: Callable[[], None], name: str) -> threading.Thread:
    """Start a daemon thread that can keep blocks of any size, where there is such a thing.

    glibc deals its arenas out to new threads in turn, and only the main one can hold blocks of
    more than 64 MiB. So threads are started until one is dealt that; the others then end.
    """
    settled = threading.Event()
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()
    passed_over: list[threading.Thread] = []

    def run(last: bool) -> None:
        chosen = last or _is_on_main_arena()
        answers.put(chosen)
        target() if chosen else settled.wait()

    if (libc := _glibc()) is not None:
        libc.mallopt(ARENA_MAX, 1)  # from now on there are no new ones to deal out
    for number in range(TRIES):
        thread = threading.Thread(target=run, args=(number == TRIES - 1,), name=name, daemon=True)
        thread.start()
        if answers.get():
            break
        passed_over.append(thread)
    settled.set()
    for other in passed_over:
        other.join()
    return thread


def _is_on_main_arena() -> bool:
    """Whether this thread's memory is below the program break, as only that arena's is."""
    if (libc := _glibc()) is None:
        return True
    libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
    block = ctypes.c_void_p(libc.malloc(PROBE))
    try:
        return (block.value or 0) < libc.sbrk(0)
    finally:
        libc.free(block)


def _keep() -> None:
    if (libc := _glibc()) is None:
        return
    if libc.mallopt(MMAP_THRESHOLD, KEEP) or libc.mallopt(MMAP_THRESHOLD, LARGEST_OWN):
        libc.mallopt(TRIM_THRESHOLD, KEEP)


def _give_back() -> None:
    """To the system, now; and set the thresholds where those of a process at work have come to."""
    if (libc := _glibc()) is not None:
        libc.mallopt(MMAP_THRESHOLD, LARGEST_OWN)
        libc.mallopt(TRIM_THRESHOLD, 2 * LARGEST_OWN)
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        libc = ctypes.CDLL(None)
        return libc if libc.mallopt and libc.malloc_trim else None
    except (OSError, AttributeError, TypeError):
        return None
