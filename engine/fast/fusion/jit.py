"""Settings of numba and the decorators of the compiled loops."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding
import numba
from numba import config, njit

# Sums may be reordered and multiply-adds fused, which vectorizes the loops. Without "nnan" and
# "ninf": NaN and infinity stay what they are, so that a training that diverges is noticed.
FASTMATH = {"contract", "nsz", "reassoc", "arcp"}


def configure() -> None:
    """Set what differs from numba's defaults. Call before the first decorator, which reads it.

    Threading layer: OpenMP, the one that comes with numba and may be used by several threads at
    once. CPU features: this CPU's, less LLVM's preference for vectors of 256 bits, with which
    loops that compute an exponential take longer on CPUs with AVX-512. Compiled code is cached in
    numba's default folder: `__pycache__` beside the source or, where that is read-only, the user's
    cache folder; the environment variable NUMBA_CACHE_DIR names another one.
    """
    config.THREADING_LAYER = "omp"
    features = llvmlite.binding.get_host_cpu_features().flatten()
    config.CPU_FEATURES = f"{features},-prefer-256-bit"


def use_threads(count: int) -> None:
    """Number of threads for loops called from this thread. numba's default is every core."""
    numba.set_num_threads(min(count, config.NUMBA_NUM_THREADS))


def source_hash() -> str:
    """Eight hex digits of the SHA-256 of this package's source, which every loop may depend on.

    numba's own cache key covers the file of the loop itself, not the functions inlined into it.
    """
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


configure()
_SOURCE = source_hash()
inline = njit(inline="always", fastmath=FASTMATH, error_model="numpy")


def parallel(loop: Callable, *variant: int) -> Callable:
    """Compile a loop over `prange`, at its first call, and cache the code.

    variant: what the loop closes over. It and the hash of the source become part of the name, so
    that each variant has a cache file of its own: numba numbers the variants that share a file,
    and two processes that compile at the same time could load each other's.
    """
    loop.__qualname__ = "_".join([loop.__qualname__, *(str(int(v)) for v in variant), _SOURCE])
    return njit(parallel=True, nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy")(loop)
