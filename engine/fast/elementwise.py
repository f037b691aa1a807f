"""What the compiled loops do to each value: bf16 to fp32 and back, activations and their slopes."""

from __future__ import annotations

import math

import llvmlite.binding
import numpy as np
from numba import config, njit

from engine.fast.kinds import ELU, GELU, LEAKY_RELU, MISH, RELU, SILU, SLOPE

config.THREADING_LAYER = "omp"  # of those that come with numba the one that takes several threads

# numba prefers vectors of half the width, for the sake of CPUs that slow down with whole ones.
# Said before its first decorator, after which it does not look again.
_features = llvmlite.binding.get_host_cpu_features().flatten()
config.CPU_FEATURES = f"{_features},-prefer-256-bit"

# Sums may be reordered and products fused, so that loops become vectors; NaN and ∞ keep theirs.
LOOSE = {"contract", "nsz", "reassoc", "arcp"}
inline = njit(inline="always", fastmath=LOOSE, error_model="numpy")

# Constants in fp32: with those of Python, whole loops would be in fp64.
f, u = np.float32, np.uint32
ZERO, HALF, ONE, TWO = f(0), f(0.5), f(1), f(2)


@inline
def fp32(bits):
    return np.uint32(np.uint32(bits) << u(16)).view(np.float32)


@inline
def bf16(value):
    """The bits of fp32 rounded to the nearest bf16, halves to even."""
    bits = np.float32(value).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> u(16)) & u(1))
    return np.uint16(np.uint32(np.uint32(bits + u(0x7FFF)) + odd) >> u(16))


LOG2_E, LN2_HIGH, LN2_LOW = f(1 / math.log(2)), f(0.693359375), f(-2.12194440e-4)
MOST, LEAST = f(88), f(-87)  # e to these is near the largest and the smallest fp32
TAYLOR = tuple(f(1 / math.factorial(n)) for n in range(6))
E2, E3, E4, E5 = TAYLOR[2:]


@inline
def exp(x):
    """e^x to 3e-6 relative: 2^n by its bits, the rest, within ±ln 2 / 2, by Taylor's series."""
    x = min(max(x, LEAST), MOST)
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    series = ((E5 * r + E4) * r + E3) * r + E2
    two_n = np.int32(np.int32(np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (series * r * r + r + ONE) * two_n


@inline
def relu(x):
    return max(x, ZERO) if x == x else x


@inline
def relu_slope(x):
    return ONE if x > ZERO else ZERO


LEAK = f(SLOPE)


@inline
def leaky_relu(x):
    return x if x > ZERO else LEAK * x


@inline
def leaky_relu_slope(x):
    return ONE if x > ZERO else LEAK


@inline
def silu(x):
    return x / (ONE + exp(-x))


@inline
def silu_slope(x):
    s = ONE / (ONE + exp(-x))
    return s * (ONE + x * (ONE - s))


@inline
def elu(x):
    return x if x > ZERO else exp(x) - ONE


@inline
def elu_slope(x):
    return ONE if x > ZERO else exp(x)


# erf by formula 7.1.26 of Abramowitz and Stegun 1964, Handbook of Mathematical Functions.
P = f(0.3275911)
A1, A2, A3, A4, A5 = (
    f(a) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
)
ROOT_HALF, ROOT_2_PI = f(math.sqrt(0.5)), f(1 / math.sqrt(2 * math.pi))


@inline
def normal(x):
    """Distribution function and density of the standard normal distribution, to 3e-6."""
    z = abs(x) * ROOT_HALF
    t = ONE / (ONE + P * z)
    bell = exp(-z * z)
    tail = HALF * bell * (((((A5 * t + A4) * t) + A3) * t + A2) * t + A1) * t
    return (ONE - tail if x > ZERO else tail), bell * ROOT_2_PI


@inline
def gelu(x):
    return x * normal(x)[0]


@inline
def gelu_slope(x):
    below, density = normal(x)
    return below + x * density


FAR = f(20)  # beyond, tanh(log(1 + e^x)) is 1 in fp32


@inline
def mish(x):
    """x · tanh(log(1 + e^x)), which is x · (e^2x + 2 e^x) / (e^2x + 2 e^x + 2)."""
    e = exp(min(x, FAR))
    n = e * (e + TWO)
    return x * (n / (n + TWO))


@inline
def mish_slope(x):
    e = exp(min(x, FAR))
    n = e * (e + TWO)
    d = ONE / (n + TWO)
    return n * d + x * (f(4) * e * (e + ONE) * d * d)


@inline
def activated(kind, x):
    if kind == RELU:
        return relu(x)
    if kind == LEAKY_RELU:
        return leaky_relu(x)
    if kind == ELU:
        return elu(x)
    if kind == GELU:
        return gelu(x)
    if kind == SILU:
        return silu(x)
    if kind == MISH:
        return mish(x)
    return x


@inline
def slope(kind, x):
    if kind == RELU:
        return relu_slope(x)
    if kind == LEAKY_RELU:
        return leaky_relu_slope(x)
    if kind == ELU:
        return elu_slope(x)
    if kind == GELU:
        return gelu_slope(x)
    if kind == SILU:
        return silu_slope(x)
    if kind == MISH:
        return mish_slope(x)
    return ONE
