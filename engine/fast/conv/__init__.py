"""Convolution algorithms for shapes at which PyTorch's kernels on a CPU are slow."""
