"""The app's training step against plain fp32 PyTorch, for every network of the study.

The baseline is what most repositories do: the same network in fp32, NCHW, eager, torch's SGD with
momentum, on a batch that is ready. Ours is the engine's own step in the precision that "auto" means
here (or --precision), augmentation and metrics included. Both take turns in one process, on the
same device; once in a thread of its own, as under the app, and once in the main thread. Each such
pair has a process of its own: the memory and the threads that an earlier network left behind change
the speed of the next, of the baseline most.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import report
from engine import allocator
from engine.config import PRECISIONS, ModelConfig, RunConfig, with_fields
from engine.data.batches import Splits
from engine.device import resolve, set_cudnn_deterministic
from engine.models import build_model, whitening
from engine.randomness import keyed_generator
from engine.training.loop import Trainer
from engine.training.prepare import make_pipeline
from engine.training.step import train_step

STUDY = (
    *("resnet18", "resnet34", "wideresnet14", "resnext18", "densenet121"),
    *("vgg16", "convmixer256d16"),
)
PLAIN = "plain"
KERNELS = 8  # that a profile shows
WARM_UPS = 4


class Step:
    """One training step of a network at each call, on a batch of noise."""

    def __init__(
        self,
        arch: str,
        batch_size: int,
        how: str,
        activation: str | None = None,
        norm: str | None = None,
    ):
        self.model = ModelConfig(arch, activation, norm, num_classes=10)
        draw = keyed_generator(1)
        self.images = torch.randint(256, (batch_size, 3, 32, 32), dtype=torch.uint8, generator=draw)
        self.labels = torch.randint(10, (batch_size,), generator=draw)
        self.run = self._plain() if how == PLAIN else self._ours(how, batch_size)

    def __call__(self) -> None:
        self.run()

    def _network(self) -> nn.Module:
        network = build_model(**self.model.arguments)
        if layer := whitening.find(network):  # its filters are 0 until it has seen images
            layer.fit(self._inputs())
        return network

    def _inputs(self) -> Tensor:
        return (self.images.float() / 255 - 0.5) / 0.25

    def _ours(self, precision: str, batch_size: int) -> Callable[[], None]:
        config = RunConfig(self.model, batch_size=batch_size, precision=precision)
        config = with_fields(config, {"optim.lr": 0.01})
        info = SimpleNamespace(mean=(0.5,) * 3, std=(0.25,) * 3)
        compute = resolve("auto", precision)
        images, labels = self.images.to(compute.device), self.labels.to(compute.device)
        splits = Splits(images, labels, images, labels, val_is_test=False)
        pipeline = make_pipeline(config, info)
        network = self._network()
        trainer = Trainer(config, splits, pipeline, network, compute, None)
        indices = torch.arange(batch_size)

        def run() -> None:
            metrics = train_step(trainer.setup, trainer.network, trainer.state, indices)
            trainer.meter.add(metrics)
            trainer.meter.read()
            wait_for(compute.device)

        return run

    def _plain(self) -> Callable[[], None]:
        device = resolve().device
        network = self._network().to(device)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, foreach=False
        )
        inputs = self._inputs().to(device)
        labels = self.labels.to(device)

        def run() -> None:
            loss = F.cross_entropy(network(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            wait_for(device)

        return run


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(name: str, args: argparse.Namespace, **choices) -> report.Row:
    batch_size = args.batch_size
    plain = Step(batch_size=batch_size, how=PLAIN, **choices)
    ours = Step(batch_size=batch_size, how=args.precision, **choices)
    values: list[float] = []
    baselines: list[float] = []
    for _ in range(args.repeats):
        set_cudnn_deterministic(False)  # ours has enabled it, for the whole process
        baselines += report.rates([plain], batch_size, 1)[0]
        set_cudnn_deterministic(True)
        with allocator.kept_blocks():  # as in a session
            # In its first steps a run still takes memory from the system.
            values += report.rates([ours], batch_size, 1, warmups=WARM_UPS)[0]
    return report.compare(name, "images/s", values, baselines)


def profile(name: str, args: argparse.Namespace, **choices) -> Iterator[report.Row]:
    """The kernels that take most of one step of ours, on the CPU."""
    step = Step(batch_size=args.batch_size, how=args.precision, **choices)
    with allocator.kept_blocks():
        for _ in range(WARM_UPS):
            step()
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            step()
    kernels = sorted(profiled.key_averages(), key=lambda k: -k.self_cpu_time_total)
    whole = sum(kernel.self_cpu_time_total for kernel in kernels)
    for kernel in kernels[:KERNELS]:
        share = 100 * kernel.self_cpu_time_total / whole
        yield report.alone(f"{name}: {kernel.key}", "% of a step", [share])


def measure_in_thread(name: str, args: argparse.Namespace, **choices) -> report.Row:
    found: list[report.Row] = []
    work = lambda: found.append(measure(f"{name}, in a thread", args, **choices))  # noqa: E731
    allocator.start_thread(work, "training").join()  # as the worker does
    return found[0]


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--arch", nargs="+", default=STUDY, metavar="ARCH")
    parser.add_argument("--activations", nargs="*", default=[], help="of the first network, too")
    parser.add_argument("--norms", nargs="*", default=[], help="of the first network, too")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of ours")
    parser.add_argument("--profile", action="store_true", help="where the time goes, instead")
    parser.add_argument("--main-only", action="store_true", help="not in a thread as well")
    args = parser.parse_args(arguments)
    return report.publish(rows(args), args.json)


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    tasks = [(arch, {"arch": arch}) for arch in args.arch]
    first = args.arch[0]
    tasks += [(f"{first} {a}", {"arch": first, "activation": a}) for a in args.activations]
    tasks += [(f"{first} {n} norm", {"arch": first, "norm": n}) for n in args.norms]
    if args.profile:
        for name, choices in tasks:
            yield from profile(name, args, **choices)
        return
    ways = [measure] if args.main_only else [measure_in_thread, measure]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        for way in ways:
            for name, choices in tasks:
                yield processes.submit(way, name, args, **choices).result()


if __name__ == "__main__":
    sys.exit(main())
