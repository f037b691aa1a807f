"""Data-parallel training in processes started by torchrun: one per GPU, or several on a CPU.

Every process has all images and samples the augmentation of the global batch, then trains on its
shard of it; DistributedDataParallel averages the gradients. Only rank 0 writes the run's files,
prints, and makes decisions that depend on the clock, which it broadcasts.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from engine.config import RunConfig
from engine.errors import ConfigError

TIMEOUT = timedelta(hours=12)  # of collectives: rank 0 may be downloading and decoding data
CONTINUE, END = 0, -1
RUN_KEY = "run"  # in torchrun's store


class Ended(Exception):
    """Rank 0 has ended training: exit without saving."""


@dataclass(frozen=True)
class Group:
    """This process's view of the process group. Group(): a single process."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0  # on this machine

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def device(self, chosen: str) -> str:
        """Device of this process, given the config's `device`; one GPU per process."""
        if self.world_size == 1:
            return chosen
        if torch.cuda.is_available() and (chosen == "auto" or chosen.startswith("cuda")):
            return f"cuda:{self.local_rank}"
        return "cpu" if chosen == "auto" else chosen  # gloo does not support MPS tensors

    def check(self, config: RunConfig) -> None:
        """Raise ConfigError if these processes cannot train `config` together."""
        if config.batch_size < self.world_size:
            raise ConfigError(
                "batch_size",
                f"{config.batch_size} images cannot be split over {self.world_size} processes",
            )
        if self.world_size > 1 and config.device == "mps":
            raise ConfigError("device", "several processes cannot train on mps; use cpu")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        gpus = torch.cuda.device_count()
        on_gpus = self.world_size > 1 and self.device(config.device).startswith("cuda")
        if on_gpus and here > gpus:
            raise ConfigError(
                "device", f"{here} processes need one GPU each, but {gpus} are available; use cpu"
            )

    def wrap(self, model: nn.Module) -> nn.Module:
        """Wrap `model` in DistributedDataParallel unless there is a single process."""
        if self.world_size == 1:
            return model
        return nn.parallel.DistributedDataParallel(model)

    def shard(self, count: int) -> tuple[slice, float]:
        """Slice of a global batch of `count` images for this process, and its fraction of it.

        If there are fewer images than processes, some get the first image with a fraction of 0:
        norms and the all-reduce of the gradients need an input.
        """
        if self.world_size == 1:
            return slice(None), 1.0
        start, end = (count * (self.rank + i) // self.world_size for i in (0, 1))
        return (slice(start, end), (end - start) / count) if end > start else (slice(0, 1), 0.0)

    def all_reduce(self, values: Tensor) -> Tensor:
        """Sum over all processes, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
        return values

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite each tensor with rank 0's."""
        if self.world_size > 1:
            for tensor in tensors:
                dense = tensor.contiguous()  # gloo requires it
                dist.broadcast(dense, src=0)
                tensor.copy_(dense)

    def broadcast_object(self, value: Any = CONTINUE) -> Any:
        """Rank 0's value, in every process. Raises Ended if rank 0 called `release` instead."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=_control_group())
        if not self.is_main and isinstance(box[0], int) and box[0] == END:
            raise Ended
        return box[0]

    def release(self) -> None:
        """On rank 0, make the others raise Ended at their next `broadcast_object`."""
        if self.world_size > 1 and self.is_main:
            with contextlib.suppress(RuntimeError):  # they may have failed for the same reason
                self.broadcast_object(END)

    @contextlib.contextmanager
    def release_on_error(self) -> Iterator[None]:
        """Context for work of rank 0 while the others wait in `broadcast_object`."""
        try:
            yield
        except BaseException:
            self.release()
            raise

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.barrier(group=_control_group())


SINGLE_PROCESS = Group()
_stores: list[dist.Store] = []  # torchrun's, once initialized
_control_groups: list[dist.ProcessGroup] = []  # gloo: decisions do not wait for a GPU


def _control_group() -> dist.ProcessGroup:
    return _control_groups[0]


def init_process_group() -> Group:
    """Initialize the process group from torchrun's environment variables.

    Returns SINGLE_PROCESS if torchrun did not start this process.
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        return SINGLE_PROCESS
    group = Group(int(os.environ["RANK"]), world_size, int(os.environ.get("LOCAL_RANK", "0")))
    store, _, _ = next(dist.rendezvous("env://", timeout=TIMEOUT))
    _stores.append(store)
    if world_size == 1:
        return group
    # torchrun's store outlives restarts, and so do the addresses in it of processes that died.
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    store = dist.PrefixStore(f"attempt-{attempt}", store)
    options = {"store": store, "rank": group.rank, "world_size": world_size, "timeout": TIMEOUT}
    if torch.cuda.is_available() and dist.is_nccl_available():  # not on Windows
        torch.cuda.set_device(group.local_rank % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl", **options)
        _control_groups.append(dist.new_group(backend="gloo", timeout=TIMEOUT))
    else:
        dist.init_process_group("gloo", **options)
        _control_groups.append(dist.group.WORLD)
    return group


def destroy_process_group() -> None:
    """Destroy the group, if there is one."""
    _stores.clear()
    if _control_groups:
        _control_groups.clear()
        dist.destroy_process_group()


def store_run_name(name: str) -> None:
    """Store the name of the run in training, for processes that torchrun restarts."""
    for store in _stores:
        store.set(RUN_KEY, name)


def stored_run_name() -> str | None:
    """Name of the run that the processes before a restart trained; None at the first start."""
    names = [store.get(RUN_KEY).decode() for store in _stores if store.check([RUN_KEY])]
    return names[0] if names else None
