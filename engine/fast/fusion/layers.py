"""Modules with fused norm, residual addition and activation, and max-pooling.

Unfused, these take a third of a ResNet-18's training step and half of a DenseNet's, in bf16 on a
CPU with AMX (bench.throughput --profile).
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from engine.fast.fusion import loops
from engine.fast.fusion.activations import kind_of
from engine.fast.fusion.arrays import as_images
from engine.fast.fusion.norm_act import fork, is_bf16_image, norm_act, run
from engine.models.densenet import DenseBlock
from engine.models.resnet import Block

log = logging.getLogger(__name__)


def compile_for(model: nn.Module) -> bool:
    """Compile the loops that `model` needs; if that fails, log a warning and return False.

    Takes some seconds unless the code is cached, so it is done before the first step.
    """
    threads = torch.get_num_threads()
    try:
        modules = list(model.modules())
        loops().compile_for(
            {kind_of(module) for module in modules} - {None},
            residual=any(isinstance(m, Block) for m in modules),
            max_pool=any(isinstance(m, nn.MaxPool2d) for m in modules),
            dense=any(isinstance(m, DenseBlock) for m in modules),
        )
    except Exception as error:  # no numba, no OpenMP, no writable cache, an unknown CPU …
        log.warning("layers are not fused, training is slower: %s", " ".join(str(error).split()))
        return False
    finally:
        # Starting numba's threads sets OpenMP's thread count, which torch shares, to all cores.
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
    return True


class FusedSequential(nn.Sequential):
    """Fuses each norm with the activation that follows it."""

    def forward(self, x: Tensor) -> Tensor:
        return run([*self], x)


class FusedBlock(Block):
    """Fuses the norm that ends the body, the addition of the shortcut and the activation."""

    @property
    def final_norm(self) -> nn.Module:
        return self.body[-1]

    @property
    def before_final_norm(self) -> list[nn.Module]:
        return [*self.body][:-1]

    def forward(self, x: Tensor) -> Tensor:
        x, shortcut = fork(x)
        x = run(self.before_final_norm, x)
        shortcut = self.shortcut(self.subsample(shortcut))
        return norm_act(self.final_norm, self.activation, x, shortcut)


class FusedMaxPool(nn.MaxPool2d):
    """2×2 max-pooling with stride 2 of bf16 images; otherwise nn.MaxPool2d."""

    def forward(self, x: Tensor) -> Tensor:
        others = (self.padding, self.dilation, self.ceil_mode, self.return_indices)
        is_2x2 = self.kernel_size == self.stride == 2 and others == (0, 1, False, False)
        if not is_2x2 or not is_bf16_image(x) or min(x.shape[2:]) < 2:
            return super().forward(x)
        return _MaxPool2x2.apply(x)


class _MaxPool2x2(torch.autograd.Function):
    """bf16 (B, C, H, W) -> (B, C, H // 2, W // 2), channels_last."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        out = x.new_empty(batch, height // 2, width // 2, channels).permute(0, 3, 1, 2)
        ctx.indices = np.empty((batch, height // 2, width // 2, channels), np.uint8)
        ctx.shape = x.shape
        x = x.detach().contiguous(memory_format=torch.channels_last)
        loops().max_pool2x2(as_images(x), as_images(out), ctx.indices)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tensor:
        batch, channels, height, width = ctx.shape
        grad = grad.contiguous(memory_format=torch.channels_last)
        out = grad.new_empty(batch, height, width, channels).permute(0, 3, 1, 2)
        loops().max_pool2x2_gradient(as_images(grad), ctx.indices, as_images(out))
        return out
