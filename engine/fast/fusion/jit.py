"""Settings of numba and the decorators of the compiled loops."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding
import numba
from numba import config, njit

# Sums may be reordered and multiply-adds fused, so that the loops vectorize. "nnan" and "ninf" are
# left out: NaN and infinity propagate, so that divergence is detected.
FASTMATH = {"contract", "nsz", "reassoc", "arcp"}


def configure() -> None:
    """Set numba's options. Call before the first decorator, which reads them.

    Threading layer: OpenMP, the thread-safe one that comes with numba. CPU features: those of the
    host, without LLVM's preference for 256-bit vectors, which slows down loops that compute an
    exponential on CPUs with AVX-512. Compiled code is cached in numba's default folder:
    `__pycache__` beside the source or, if that is read-only, the user's cache folder; the
    environment variable NUMBA_CACHE_DIR overrides it.
    """
    config.THREADING_LAYER = "omp"
    features = llvmlite.binding.get_host_cpu_features().flatten()
    config.CPU_FEATURES = f"{features},-prefer-256-bit"


def use_threads(count: int) -> None:
    """Set the number of threads for loops called from this thread; numba's default: all cores."""
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

    variant: the values that the loop closes over. They and the hash of the source become part of
    the name, so that each variant has its own cache file: numba numbers the variants that share a
    file, and two processes that compile at the same time could load each other's.
    """
    loop.__qualname__ = "_".join([loop.__qualname__, *(str(int(v)) for v in variant), _SOURCE])
    return njit(parallel=True, nogil=True, cache=True, fastmath=FASTMATH, error_model="numpy")(loop)
