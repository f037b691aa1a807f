"""One training step: batch, augmentation, forward, loss, update."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.augment import FlipParams, Pipeline, PipelineParams
from engine.augment.geometric import to_device
from engine.config import RunConfig
from engine.data.batches import Splits
from engine.device import Compute
from engine.randomness import Purpose, keyed_generator
from engine.schedules import learning_rate
from engine.training import progressive
from engine.training.group import SINGLE_PROCESS, Group
from engine.training.state import TrainState


@dataclass(frozen=True)
class Setup:
    """The constants of a training run. The images are on the compute device."""

    config: RunConfig
    splits: Splits
    pipeline: Pipeline
    compute: Compute
    group: Group = SINGLE_PROCESS

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.splits.train_images) / self.config.batch_size)

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.steps_per_epoch * self.config.epochs

    @functools.cached_property
    def flipped_first(self) -> Tensor:
        """Training images that alternating flip mirrors in odd epochs: bool [N], on the CPU."""
        generator = keyed_generator(self.config.seed, Purpose.FLIP)
        return torch.rand(len(self.splits.train_images), generator=generator) < 0.5

    def key_epoch(self, epoch: int) -> int:
        """Epoch number in random keys; an extension continues the count of its parent."""
        return self.config.first_epoch + epoch


class StepMetrics(NamedTuple):
    """Metrics of one step, still on the device."""

    step: int  # steps done, from 1
    images: int  # of the batch, over all processes
    lr: float
    values: Tensor  # [2]: loss and accuracy; their sum over all processes is the batch's mean


def train_step(setup: Setup, network: nn.Module, state: TrainState, indices: Tensor) -> StepMetrics:
    """One optimizer step on the training images at `indices`, int64 [B] on the CPU.

    network: state.model, possibly compiled or wrapped in DistributedDataParallel. indices: of the
    global batch, over all processes. Does not synchronize with a GPU.
    """
    config, compute, position = setup.config, setup.compute, state.position
    step, epoch = position.step, setup.key_epoch(position.epochs_done + 1)

    (on_device,) = to_device([indices], compute.device)
    images = setup.splits.train_images.index_select(0, on_device)
    labels = setup.splits.train_labels.index_select(0, on_device)

    params = sample_augmentation(setup, images.shape, indices, epoch, step)
    inputs, targets_a, targets_b, lam = setup.pipeline.apply(images, labels, params)
    if config.progressive:
        size = progressive.size_at(step / setup.steps, inputs.shape[-1])
        inputs = progressive.resize(inputs, size)
    inputs = inputs.contiguous(memory_format=compute.memory_format)

    # Shard only now: mixing may pair images of different shards.
    shard, fraction = setup.group.shard(len(images))
    inputs, targets_a, targets_b = inputs[shard], targets_a[shard], targets_b[shard]

    with compute.autocast():
        logits = network(inputs)
    logits = logits.float()
    smoothing = config.optim.label_smoothing
    loss = mixed_cross_entropy(logits, targets_a, targets_b, lam, smoothing)

    lr = learning_rate(config.schedule, config.optim.lr, step, setup.steps_per_epoch, config.epochs)
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group.get("factor", 1.0)  # absent from old checkpoints
    state.optimizer.zero_grad(set_to_none=True)
    # Weighted, as DistributedDataParallel averages over processes, whose shards differ in size.
    state.scaler.scale(loss * (fraction * setup.group.world_size)).backward()
    state.scaler.step(state.optimizer)
    state.scaler.update()
    if state.average:
        state.average.update()
    position.step += 1

    accuracy = mixed_accuracy(logits, targets_a, targets_b, lam)
    values = torch.stack([loss.detach(), accuracy]) * fraction
    return StepMetrics(step=position.step, images=len(images), lr=lr, values=values)


def sample_augmentation(
    setup: Setup, shape: torch.Size, indices: Tensor, epoch: int, step: int
) -> PipelineParams:
    """Augmentation parameters of a batch, keyed by (seed, epoch, step).

    shape: of the batch, [B, 3, H, W]. indices: of its training images. epoch: see
    Setup.key_epoch. step: steps done.
    """
    generator = keyed_generator(setup.config.seed, Purpose.AUGMENT, epoch, step)
    params = setup.pipeline.sample(shape, generator)
    if setup.config.augment.alternating_flip:
        # Jordan 2024, arXiv 2404.00498, section 3.6: every pair of epochs shows both sides.
        params = params._replace(flip=FlipParams(setup.flipped_first[indices] ^ (epoch % 2 == 0)))
    return params


def mixed_cross_entropy(
    logits: Tensor, targets_a: Tensor, targets_b: Tensor, lam: float, smoothing: float
) -> Tensor:
    """λ·CE(logits, targets_a) + (1 - λ)·CE(logits, targets_b), a scalar.

    Zhang et al. 2018, arXiv 1710.09412; lam is 1 without mixing. logits: float32 [B, classes],
    targets: int64 [B], smoothing: label smoothing, 0 to 1.
    """
    loss = lam * F.cross_entropy(logits, targets_a, label_smoothing=smoothing)
    if lam < 1:
        loss = loss + (1 - lam) * F.cross_entropy(logits, targets_b, label_smoothing=smoothing)
    return loss


@torch.no_grad()
def mixed_accuracy(logits: Tensor, targets_a: Tensor, targets_b: Tensor, lam: float) -> Tensor:
    """Accuracy against mixed targets, 0 to 1: a hit on targets_a counts λ, on targets_b 1 - λ."""
    predicted = logits.argmax(1)
    hits_a, hits_b = (predicted == targets_a).float(), (predicted == targets_b).float()
    return (lam * hits_a + (1 - lam) * hits_b).mean()
