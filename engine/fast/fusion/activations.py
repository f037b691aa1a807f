"""Activations that the compiled loops support, as compile-time integer constants."""

from __future__ import annotations

from torch import nn

ACTIVATIONS = ("identity", "relu", "leaky_relu", "elu", "gelu", "silu", "mish")
IDENTITY, RELU, LEAKY_RELU, ELU, GELU, SILU, MISH = range(len(ACTIVATIONS))
# Each computes an exponential. In the backward pass the first loop stores the gradient of the
# activation's input for the second loop, which is faster than computing it twice.
COSTLY = (ELU, GELU, SILU, MISH)

NEGATIVE_SLOPE = 0.01  # of LEAKY_RELU, the default of nn.LeakyReLU


def kind_of(activation: nn.Module | None) -> int | None:
    """Index in ACTIVATIONS; None for a module that the loops do not support."""
    match activation:
        case nn.ReLU():
            return RELU
        case nn.LeakyReLU() if activation.negative_slope == NEGATIVE_SLOPE:
            return LEAKY_RELU
        case nn.ELU(alpha=1) | nn.CELU(alpha=1):
            return ELU
        case nn.GELU(approximate="none"):
            return GELU
        case nn.SiLU():
            return SILU
        case nn.Mish():
            return MISH
    return None
