"""The C allocator's settings while a network trains, and giving the memory back afterwards.

glibc returns every large block to the system as soon as it is freed, and asks for it again in the
next step: the kernel then clears each page anew. A training frees and takes the same blocks in
every step, so it keeps them. Elsewhere than in glibc all of this does nothing.
"""

from __future__ import annotations

import ctypes
import functools
import platform

# mallopt's parameters (malloc.h), and the values that keep blocks in the process
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
KEEP = 2**30
DEFAULT = 128 * 1024


def keep_blocks() -> None:
    """Keep freed blocks of up to 1 GiB for the next step. Call before a training's first tensor.

    One arena for all threads, because only the main one can hold large blocks: without it a
    training in a thread would gain nothing.
    """
    if (libc := _glibc()) is not None:
        libc.mallopt(ARENA_MAX, 1)
        libc.mallopt(MMAP_THRESHOLD, KEEP)
        libc.mallopt(TRIM_THRESHOLD, KEEP)


def give_back() -> None:
    """Return what is free to the system, and large blocks from now on when they are freed."""
    if (libc := _glibc()) is not None:
        libc.mallopt(MMAP_THRESHOLD, DEFAULT)
        libc.mallopt(TRIM_THRESHOLD, DEFAULT)
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
