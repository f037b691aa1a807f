"""The activations that the compiled loops know, by number."""

ACTIVATIONS = ("identity", "relu", "leaky_relu", "elu", "gelu", "silu", "mish")
IDENTITY, RELU, LEAKY_RELU, ELU, GELU, SILU, MISH = range(len(ACTIVATIONS))
COSTLY = (ELU, GELU, SILU, MISH)  # an exponential in each: to store it is faster than to repeat it

SLOPE = 0.01  # of LEAKY_RELU below 0: the default of nn.LeakyReLU
