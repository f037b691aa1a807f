"""Freed memory is kept between steps and returned after a run; without glibc nothing happens."""

import subprocess
import sys

import pytest

from engine import allocator

PROGRAM = """
import resource, torch
from engine import allocator

def faults(blocks=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(blocks):
        torch.ones(16_000_000)  # 64 MB: what a process keeps of itself is smaller
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

before = faults()
with allocator.kept_blocks():
    with allocator.kept_blocks():  # another thread's, say, that ends earlier
        faults(12)  # until it has settled
    kept = min(faults() for _ in range(3))
    held = [torch.ones(4_000_000) for _ in range(8)]
    held.clear()
    full = resident()
print(before, kept, full - resident(), faults())

# Smaller blocks are kept by any process after a while; they must be afterwards, too.
small = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - small)
"""
glibc = pytest.mark.skipif(allocator.glibc() is None, reason="not glibc")


@glibc
def test_blocks_are_kept_for_the_next_step_and_given_back_after_the_run():
    run = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(run, capture_output=True, text=True, check=True)
    before, kept, returned, after, small = map(int, result.stdout.split())
    assert kept < before / 10  # page faults: the memory was still there
    assert returned > 100e6
    assert after > 10 * max(kept, 1)
    assert small < 10 * 2_000_000 * 4 / 4096  # the pages of the first few, not of all 20


THREADS = """
import resource, threading, torch
from engine import allocator

def other():  # a web server's, with an arena of its own
    bytes(1000)
    forever.wait()

forever = threading.Event()
for _ in range(6):
    threading.Thread(target=other, daemon=True).start()

def use():  # the share of the pages of large blocks that are taken anew
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.empty(20_000_000).fill_(0)  # 80 MB: more than other arenas can hold
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return faults / (5 * 80e6 / resource.getpagesize())

def share():
    with allocator.kept_blocks():  # a small block in a freed one's place may make it grow at first
        shares.append(min(use() for _ in range(10)))

shares = []
for _ in range(5):
    allocator.start_thread(share, "training").join()
thread = threading.Thread(target=share)
thread.start(), thread.join()
print(*shares)
"""


@glibc
def test_a_training_thread_keeps_blocks_of_any_size():
    result = subprocess.run(
        [sys.executable, "-c", THREADS], capture_output=True, text=True, check=True
    )
    *ours, usual = map(float, result.stdout.split())
    assert max(ours) < 0.05
    assert usual > 0.9  # or this test would show nothing


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    allocator.glibc.cache_clear()
    try:
        allocator.start_thread(lambda: None, "other").join()
        with allocator.kept_blocks():
            pass
        assert allocator.glibc() is None
    finally:
        allocator.glibc.cache_clear()
