"""Keeps a training on the CPU fast beside other processes, on Linux with GNU OpenMP.

OpenMP's threads, and those inside oneDNN's kernels, wait for each other many times in a step, by
spinning. Beside another process one of them is often not running, and the rest spin in vain:

- While others use the CPU, a second team, which sleeps, makes the first one yield: libgomp spins
  1,000 instead of 300,000 times before it sleeps when it has more threads than there are CPUs (its
  GOMP_SPINCOUNT).
- While others use more than half of all cores, the threads are also bound to the other half: there
  they take turns, and none waits for one that shares its core with another process.

Neither changes the number of threads, so results stay the same to the bit.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

READ_EVERY_S = 1.0  # between looks at the load
# Others' use of the CPU, in cores or as a share of all cores, from which training gives way or
# leaves half of the cores, and the part of it below which this ends.
CROWDED_CORES, CROWDED_SHARE, HALF_SHARE, CALM_PART = 0.3, 0.03, 0.55, 0.5
CALM, CROWDED, HALF = range(3)  # levels of the load


class Load:
    """How much others use the CPU, as a level: averaged, so that it does not flap."""

    def __init__(self, cores: int):
        self.limits = (max(CROWDED_CORES, CROWDED_SHARE * cores), HALF_SHARE * cores)
        self.level = CALM
        self._others = 0.0  # cores that others use, averaged over the last few readings
        self._last: tuple[float, float] | None = None

    def update(self, now: float, others_s: float) -> int:
        """Add a reading: clock and CPU time of all others so far, in seconds. Returns the level."""
        if self._last is not None:
            cores = (others_s - self._last[1]) / (now - self._last[0])
            self._others = (self._others + max(cores, 0.0)) / 2
            reached = sum(self._others > limit for limit in self.limits)
            kept = sum(self._others > CALM_PART * limit for limit in self.limits)
            self.level = max(reached, min(self.level, kept))
        self._last = now, others_s
        return self.level


class Relief:
    """Looks at the load and changes how the calling thread's OpenMP teams wait; see `relief`."""

    def __init__(self, cores: list[int], libraries: list[ctypes.CDLL]):
        self.cores = cores
        self._teams = Teams(libraries, len(cores))
        self._load = Load(len(cores))
        self._next = 0.0
        self._ballast: Ballast | None = None
        self._bound = set(cores)

    def check(self) -> None:
        """Look at the load if a second has passed since the last look; call it between steps."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + READ_EVERY_S
        others_s = busy_seconds(self.cores) - self._teams.cpu_seconds()
        level = self._load.update(now, others_s)
        if level == CALM:
            self.end()
            return
        if self._ballast is None:
            self._ballast = Ballast(self._teams)
        self._bind(set(self.cores[len(self.cores) // 2 :]) if level == HALF else set(self.cores))

    def _bind(self, cores: set[int]) -> None:
        if cores != self._bound or len(cores) < len(self.cores):
            # Again at every look: a thread that joins a team may run anywhere.
            self._teams.bind(cores)
            self._bound = cores

    def settle(self) -> None:
        """Look at the load for a second, before steps that last less than that."""
        self.check()
        time.sleep(READ_EVERY_S)
        self.check()

    def end(self) -> None:
        """Undo what a load has changed."""
        if self._ballast is not None:
            self._ballast.end()
            self._ballast = None
            self._bind(set(self.cores))


class NoRelief:
    """Stands for Relief where nothing can be done."""

    def check(self) -> None:
        pass

    def settle(self) -> None:
        pass

    def end(self) -> None:
        pass


class Teams:
    """The OpenMP teams of the calling thread: one in each copy of libgomp in this process."""

    def __init__(self, libraries: list[ctypes.CDLL], threads: int):
        self.libraries, self.threads = libraries, threads

    def run(self, task: Callable[[int], None]) -> None:
        """Call `task` with its number in every thread of each team; its errors are printed."""
        for library in self.libraries:
            call = FUNCTION(lambda _, library=library: task(library.omp_get_thread_num()))
            library.GOMP_parallel(call, None, self.threads, 0)

    def bind(self, cores: set[int]) -> None:
        """Allow all threads of each team these CPUs only."""

        def task(number: int) -> None:
            with contextlib.suppress(OSError):  # a CPU may have been taken away
                os.sched_setaffinity(0, cores)

        self.run(task)

    def cpu_seconds(self) -> float:
        """CPU time of the teams' threads so far."""
        seconds: dict[int, float] = {}  # by thread: the calling one is in all teams
        self.run(lambda _: seconds.update({threading.get_native_id(): time.thread_time()}))
        return sum(seconds.values())


class Ballast:
    """A thread with OpenMP teams of its own; all of them sleep until it ends."""

    def __init__(self, teams: Teams):
        self._ended, started = threading.Event(), threading.Event()

        def work() -> None:
            teams.run(lambda _: None)
            started.set()
            self._ended.wait()

        self._thread = threading.Thread(target=work, name="ballast", daemon=True)
        self._thread.start()
        started.wait()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


@contextlib.contextmanager
def relief(wanted: bool) -> Iterator[Relief | NoRelief]:
    """Context of a training in the calling thread; call `check` between its steps.

    That does nothing unless `wanted`, on other systems, with another OpenMP library, and with
    fewer threads than CPUs, where the scheduler has room to move them.
    """
    watched = None
    if wanted and sys.platform == "linux":
        cores, threads = sorted(os.sched_getaffinity(0)), torch.get_num_threads()
        libraries = gnu_openmp()
        if threads == len(cores) > 1 and libraries:
            watched = Relief(cores, libraries)
    if watched is None:
        yield NoRelief()
        return
    try:
        yield watched
    finally:
        watched.end()


def gnu_openmp() -> list[ctypes.CDLL]:
    """Each copy of libgomp in this process: torch brings its own, numba may load the system's."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
        fields = (line.split(maxsplit=5) for line in lines)
        files = {f[5] for f in fields if len(f) == 6 and "libgomp" in Path(f[5]).name}
        return [ctypes.CDLL(file) for file in sorted(files)]
    except OSError:
        return []


def busy_seconds(cores: list[int]) -> float:
    """Time that these CPUs have worked since the system's start, for all processes."""
    ticks = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _iowait, irq, softirq = map(int, values[:7])
            ticks += user + nice + system + irq + softirq
    return ticks / os.sysconf("SC_CLK_TCK")
