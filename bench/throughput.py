"""Training step of the app, in images/s, against plain fp32 PyTorch, for each network of the study.

Baseline: the same network in fp32, NCHW and eager mode, with torch.optim.SGD and momentum, on a
batch already on the device. App: the engine's own training step in --precision, including
augmentation and metrics; --without disables a replacement of engine/fast.

Both are timed alternately, in one process and on the same device: first in a training thread, as in
the app, then in the main thread. Each pair runs in its own process, as memory and threads left
behind by an earlier network change the speed of the next, mostly of the baseline.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import report
from engine import allocator, fast
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
KERNELS = 8  # rows of a profile
WARMUPS = 4  # steps in which a run still allocates memory from the system


class Step:
    """Callable that performs one training step of a config on a batch of noise of 10 classes.

    precision: of the app's step; PLAIN: the baseline. without: replacements to disable.
    """

    def __init__(self, config: RunConfig, precision: str, without: Sequence[str] = ()):
        changes = {"model.num_classes": 10, "optim.lr": 0.01, "progressive": False}
        self.config = with_fields(config, changes)
        self.batch_size = batch_size = config.batch_size
        draw = keyed_generator(1)
        self.images = torch.randint(256, (batch_size, 3, 32, 32), dtype=torch.uint8, generator=draw)
        self.labels = torch.randint(10, (batch_size,), generator=draw)
        self.network = self._network()
        if precision == PLAIN:
            self.run = self._plain()
        else:
            with fast.without(*without):
                self.run = self._app(precision)

    def __call__(self) -> None:
        self.run()

    def _network(self) -> nn.Module:
        network = build_model(**self.config.model.arguments)
        if layer := whitening.find(network):  # its filters are zero until they are fitted
            layer.fit(self._inputs())
        return network

    def _inputs(self) -> Tensor:
        return (self.images.float() / 255 - 0.5) / 0.25

    def _app(self, precision: str) -> Callable[[], None]:
        config = with_fields(self.config, {"precision": precision})
        info = SimpleNamespace(mean=(0.5,) * 3, std=(0.25,) * 3)
        compute = resolve("auto", precision)
        images, labels = self.images.to(compute.device), self.labels.to(compute.device)
        splits = Splits(images, labels, images, labels, val_is_test=False)
        pipeline = make_pipeline(config, info)
        trainer = Trainer(config, splits, pipeline, self.network, compute, None)
        indices = torch.arange(self.batch_size)

        def run() -> None:
            metrics = train_step(trainer.setup, trainer.network, trainer.state, indices)
            trainer.meter.add(metrics)
            trainer.meter.read()
            wait_for(compute.device)

        return run

    def _plain(self) -> Callable[[], None]:
        device = resolve().device
        network = self.network.to(device)
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
    """Synchronize with a GPU; no-op on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(name: str, args: argparse.Namespace, **choices) -> report.Row:
    batch_size = args.batch_size
    plain = Step(config_of(batch_size, **choices), PLAIN)
    app = app_step(args, **choices)
    values: list[float] = []
    baselines: list[float] = []
    for _ in range(args.repeats):
        set_cudnn_deterministic(False)  # the Trainer enables it for the whole process
        baselines += report.rates([plain], batch_size, 1)[0]
        set_cudnn_deterministic(True)
        with allocator.kept_blocks():  # as in a training session
            values += report.rates([app], batch_size, 1, warmups=WARMUPS)[0]
    return report.compare(name, "images/s", values, baselines)


def app_step(args: argparse.Namespace, **choices) -> Step:
    return Step(config_of(args.batch_size, **choices), args.precision, args.without)


def config_of(
    batch_size: int, arch: str, activation: str | None = None, norm: str | None = None
) -> RunConfig:
    return RunConfig(ModelConfig(arch, activation, norm), batch_size=batch_size)


def profile(name: str, args: argparse.Namespace, **choices) -> Iterator[report.Row]:
    """The slowest kernels of one step of the app, with their shares of its CPU time."""
    step = app_step(args, **choices)
    with allocator.kept_blocks():
        for _ in range(WARMUPS):
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
    parser.add_argument("--activations", nargs="*", default=[], help="with the first --arch")
    parser.add_argument("--norms", nargs="*", default=[], help="with the first --arch")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the app")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=fast.NAMES,
        metavar="NAME",
        help="disable this replacement in the app's network (may be repeated): "
        + ", ".join(fast.NAMES),
    )
    parser.add_argument("--profile", action="store_true", help="print the slowest kernels instead")
    parser.add_argument("--main-only", action="store_true", help="skip the training thread")
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
    measures = [measure] if args.main_only else [measure_in_thread, measure]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, max_tasks_per_child=1) as processes:
        for function in measures:
            for name, choices in tasks:
                yield processes.submit(function, name, args, **choices).result()


if __name__ == "__main__":
    sys.exit(main())
