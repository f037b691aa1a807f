"""What is between two convolutions in one go, for trainings in bf16 on a CPU.

Batch norm, the activation behind it and the addition of a shortcut are a third of a ResNet-18's
step and half of a DenseNet's when each is a pass of its own. `fuse` swaps the classes of the
modules that hold them; names, parameters and results stay (up to rounding).
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.device import Compute, fastest_precision
from engine.fast.dense import FusedDenseBlock
from engine.fast.norm_activation import bits_of, fits, for_two, kind_of, loops, norm_activation, run
from engine.models.densenet import DenseBlock
from engine.models.resnet import Block

log = logging.getLogger(__name__)


def fuse(model: nn.Module, compute: Compute) -> nn.Module:
    """The same network, fused where `compute` is a CPU with instructions for bf16.

    Not for one that torch.compile gets: that fuses itself.
    """
    on_cpu = compute.device.type == "cpu" and compute.precision == "bf16"
    if on_cpu and fastest_precision(compute.device) == "bf16" and _compiles_for(model):
        for module in model.modules():
            module.__class__ = FUSED.get(type(module), type(module))
    return model


def _compiles_for(model: nn.Module) -> bool:
    """Whether numba can compile and run here what this network needs; else a warning says why not.

    Now, and not in the first step: it takes some seconds, if no process has done it before.
    """
    threads = torch.get_num_threads()
    try:
        modules = list(model.modules())
        kinds = {kind_of(module) for module in modules} - {None}
        has = [any(isinstance(m, t) for m in modules) for t in (Block, nn.MaxPool2d, DenseBlock)]
        loops().compile_for(kinds, *has)
    except Exception as error:  # no OpenMP, no place for compiled code, an unknown CPU …
        log.warning("layers are not fused, training is slower: %s", " ".join(str(error).split()))
        return False
    finally:
        # numba's first loop gives OpenMP, and so PyTorch, as many threads as there are CPUs.
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
    return True


class FusedSequential(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return run([*self], x)


class FusedBlock(Block):
    def forward(self, x: Tensor) -> Tensor:
        *first, last = self.body
        x, twin = for_two(x)
        return norm_activation(
            last, self.activation, run(first, x), self.shortcut(self.subsample(twin))
        )


class FusedMaxPool(nn.MaxPool2d):
    def forward(self, x: Tensor) -> Tensor:
        usual = (self.padding, self.dilation, self.ceil_mode, self.return_indices)
        halves = self.kernel_size == self.stride == 2 and usual == (0, 1, False, False)
        if not halves or not fits(x) or min(x.shape[2:]) < 2:
            return super().forward(x)
        return _MaxPool.apply(x)


FUSED: dict[type, type] = {
    nn.Sequential: FusedSequential,
    DenseBlock: FusedDenseBlock,
    Block: FusedBlock,
    nn.MaxPool2d: FusedMaxPool,
}


class _MaxPool(torch.autograd.Function):
    """Max-pooling of 2×2 with stride 2 of bf16 x (B, C, H, W)."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        out = x.new_empty(batch, height // 2, width // 2, channels).permute(0, 3, 1, 2)
        ctx.places = np.empty((batch, height // 2, width // 2, channels), np.uint8)
        ctx.shape = x.shape
        x = x.detach().contiguous(memory_format=torch.channels_last)
        kernels = loops()
        kernels.use_threads(torch.get_num_threads())
        kernels.largest(bits_of(x), bits_of(out), ctx.places)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        batch, channels, height, width = ctx.shape
        grad = grad.contiguous(memory_format=torch.channels_last)
        out = grad.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
        kernels = loops()
        kernels.use_threads(torch.get_num_threads())
        kernels.largest_gradient(bits_of(grad), ctx.places, bits_of(out))
        return out
