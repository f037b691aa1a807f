"""Training by several processes, as torchrun starts them: one per GPU, or a few on one CPU.

Every process has the whole data, draws the same chance for the global batch and trains on its own
part of it; DistributedDataParallel averages the gradients. The first process (rank 0) alone holds
the run, talks to people and decides by the clock; the others follow its word.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from engine.config import RunConfig
from engine.errors import ConfigError

# How long a process waits for another one. Downloading and decoding data happen within a wait.
PATIENCE = timedelta(hours=12)
GO_ON, END = 0, -1
RUN = "run"  # key in torchrun's store


class Ended(Exception):
    """Rank 0 has ended the training; save nothing, leave."""


@dataclass(frozen=True)
class Group:
    """The processes that train together. The default is a process of its own."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those on this machine

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def device(self, chosen: str) -> str:
        """Where this process computes: where a GPU is meant, each takes its own."""
        if self.size == 1:
            return chosen
        if torch.cuda.is_available() and (chosen == "auto" or chosen.startswith("cuda")):
            return f"cuda:{self.local_rank}"
        return "cpu" if chosen == "auto" else chosen  # gloo cannot talk about an MPS tensor

    def check(self, config: RunConfig) -> None:
        """Raises ConfigError for what these processes cannot train together."""
        if config.batch_size < self.size:
            raise ConfigError(
                "batch_size",
                f"{config.batch_size} images cannot be split over {self.size} processes",
            )
        if self.size > 1 and config.device == "mps":
            raise ConfigError("device", "several processes cannot train on mps; use cpu")
        here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        gpus = torch.cuda.device_count()
        if self.size > 1 and self.device(config.device).startswith("cuda") and here > gpus:
            raise ConfigError(
                "device", f"{here} processes need a GPU each, here are {gpus}; use cpu"
            )

    def wrap(self, model: nn.Module) -> nn.Module:
        """The network whose gradients are averaged over all processes."""
        return nn.parallel.DistributedDataParallel(model) if self.size > 1 else model

    def part(self, count: int) -> tuple[slice, float]:
        """Which of `count` images of a global batch are this process's, and their share.

        A process for which none are left takes the first, with a share of 0: its norms and the
        exchange of gradients need something to work on.
        """
        if self.size == 1:
            return slice(None), 1.0
        start, end = (count * (self.rank + i) // self.size for i in (0, 1))
        return (slice(start, end), (end - start) / count) if end > start else (slice(0, 1), 0.0)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, at each of them."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite each with rank 0's."""
        if self.size > 1:
            for tensor in tensors:
                dense = tensor.contiguous()  # gloo takes no other layout
                dist.broadcast(dense, src=0)
                tensor.copy_(dense)

    def agree(self, value: Any = GO_ON) -> Any:
        """Rank 0's value, at each process. Raises Ended where rank 0 called `end` instead."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, group=_talk())
        if not self.leads and isinstance(box[0], int) and box[0] == END:
            raise Ended
        return box[0]

    def end(self) -> None:
        """Rank 0: let the others, which wait in `agree` or will, leave."""
        if self.size > 1 and self.leads:
            with contextlib.suppress(RuntimeError):  # they may have ended for the same reason
                self.agree(END)

    def wait(self) -> None:
        """Go on when every process is here."""
        if self.size > 1:
            dist.barrier(group=_talk())


ALONE = Group()
_stores: list[dist.Store] = []  # torchrun's own, once joined
_talks: list[dist.ProcessGroup] = []  # decisions go by gloo, which does not wait for a GPU


def _talk() -> dist.ProcessGroup:
    return _talks[0]


def join() -> Group:
    """The group that torchrun's environment describes; Group() when it did not start us."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1 and "TORCHELASTIC_RUN_ID" not in os.environ:
        return ALONE
    group = Group(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))
    store, _, _ = next(dist.rendezvous("env://", timeout=PATIENCE))
    _stores.append(store)
    if size == 1:
        return group
    # torchrun's store outlives its restarts, and with it the addresses of those that died.
    store = dist.PrefixStore(f"attempt-{_restarts()}", store)
    place = {"store": store, "rank": group.rank, "world_size": size, "timeout": PATIENCE}
    if torch.cuda.is_available() and dist.is_nccl_available():  # not on Windows
        torch.cuda.set_device(group.local_rank % torch.cuda.device_count())
        dist.init_process_group("cpu:gloo,cuda:nccl", **place)
        _talks.append(dist.new_group(backend="gloo", timeout=PATIENCE))
    else:
        dist.init_process_group("gloo", **place)
        _talks.append(dist.group.WORLD)
    return group


def leave() -> None:
    """End the group, if there is one."""
    _stores.clear()
    if _talks:
        _talks.clear()
        dist.destroy_process_group()


def remember(run: str) -> None:
    """Note which run these processes make, for those that torchrun starts if some of them die."""
    for store in _stores:
        store.set(RUN, run)


def remembered() -> str | None:
    """The run that processes before these have begun."""
    began = [store.get(RUN).decode() for store in _stores if store.check([RUN])]
    return began[0] if began else None


def _restarts() -> int:
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
