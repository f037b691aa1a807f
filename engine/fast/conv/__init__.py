"""Convolution algorithms for shapes on which PyTorch's CPU kernels are slow."""
