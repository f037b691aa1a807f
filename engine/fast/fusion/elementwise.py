"""Elementwise functions of the compiled loops: bf16 conversion, activations, their derivatives.

They compute fp32 scalars and are inlined into the loops, which LLVM then vectorizes.
"""

from __future__ import annotations

import math

import numpy as np

from engine.fast.fusion.activations import ELU, GELU, LEAKY_RELU, MISH, NEGATIVE_SLOPE, RELU, SILU
from engine.fast.fusion.jit import inline

# fp32 constants: Python's floats would make whole loops compute in fp64.
f, u = np.float32, np.uint32
ZERO, HALF, ONE, TWO = f(0), f(0.5), f(1), f(2)


@inline
def fp32(bits):
    """fp32 value of a bf16 number, given as its bits."""
    return np.uint32(np.uint32(bits) << u(16)).view(np.float32)


@inline
def bf16(value):
    """Bits of an fp32 value rounded to the nearest bf16, ties to even."""
    bits = np.float32(value).view(np.uint32)
    odd = np.uint32(np.uint32(bits >> u(16)) & u(1))
    return np.uint16(np.uint32(np.uint32(bits + u(0x7FFF)) + odd) >> u(16))


LOG2_E, LN2_HIGH, LN2_LOW = f(1 / math.log(2)), f(0.693359375), f(-2.12194440e-4)
MAX_EXPONENT, MIN_EXPONENT = f(88), f(-87)  # e^88 is near the largest fp32, e^-87 the smallest
TAYLOR = tuple(f(1 / math.factorial(n)) for n in range(6))
E2, E3, E4, E5 = TAYLOR[2:]


@inline
def exp(x):
    """e^x, relative error below 3e-6: 2^n · e^r, with a Taylor series for |r| ≤ ln 2 / 2."""
    x = min(max(x, MIN_EXPONENT), MAX_EXPONENT)
    n = np.floor(x * LOG2_E + HALF)
    r = x - n * LN2_HIGH - n * LN2_LOW
    series = ((E5 * r + E4) * r + E3) * r + E2
    two_n = np.int32(np.int32(np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (series * r * r + r + ONE) * two_n


@inline
def relu(x):
    return max(x, ZERO) if x == x else x


@inline
def relu_derivative(x):
    return ONE if x > ZERO else ZERO


LEAK = f(NEGATIVE_SLOPE)


@inline
def leaky_relu(x):
    return x if x > ZERO else LEAK * x


@inline
def leaky_relu_derivative(x):
    return ONE if x > ZERO else LEAK


@inline
def silu(x):
    return x / (ONE + exp(-x))


@inline
def silu_derivative(x):
    s = ONE / (ONE + exp(-x))
    return s * (ONE + x * (ONE - s))


@inline
def elu(x):
    return x if x > ZERO else exp(x) - ONE


@inline
def elu_derivative(x):
    return ONE if x > ZERO else exp(x)


# erf by equation 7.1.26 of Abramowitz and Stegun 1964, "Handbook of Mathematical Functions".
P = f(0.3275911)
A1, A2, A3, A4, A5 = (
    f(a) for a in (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
)
ROOT_HALF, ROOT_2_PI = f(math.sqrt(0.5)), f(1 / math.sqrt(2 * math.pi))


@inline
def normal(x):
    """CDF and PDF of the standard normal distribution, error below 3e-6."""
    z = abs(x) * ROOT_HALF
    t = ONE / (ONE + P * z)
    bell = exp(-z * z)
    tail = HALF * bell * (((((A5 * t + A4) * t) + A3) * t + A2) * t + A1) * t
    return (ONE - tail if x > ZERO else tail), bell * ROOT_2_PI


@inline
def gelu(x):
    return x * normal(x)[0]


@inline
def gelu_derivative(x):
    cdf, pdf = normal(x)
    return cdf + x * pdf


SATURATED = f(20)  # for larger x, tanh(log(1 + e^x)) is 1 in fp32


@inline
def mish(x):
    """x · tanh(log(1 + e^x)) = x · (e^2x + 2 e^x) / (e^2x + 2 e^x + 2)."""
    e = exp(min(x, SATURATED))
    n = e * (e + TWO)
    return x * (n / (n + TWO))


@inline
def mish_derivative(x):
    e = exp(min(x, SATURATED))
    n = e * (e + TWO)
    d = ONE / (n + TWO)
    return n * d + x * (f(4) * e * (e + ONE) * d * d)


@inline
def activate(kind, x):
    """act(x); kind: index in ACTIVATIONS, a compile-time constant of the loop."""
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
def derivative(kind, x):
    """act'(x); kind as in `activate`."""
    if kind == RELU:
        return relu_derivative(x)
    if kind == LEAKY_RELU:
        return leaky_relu_derivative(x)
    if kind == ELU:
        return elu_derivative(x)
    if kind == GELU:
        return gelu_derivative(x)
    if kind == SILU:
        return silu_derivative(x)
    if kind == MISH:
        return mish_derivative(x)
    return ONE
