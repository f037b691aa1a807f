"""Training step of the app, in images/s, against what a skilled user would write.

Three steps are timed alternately, in one process and on the same device, on the same batch:

- Plain: fp32, NCHW, eager, torch.optim.SGD with momentum.
- Skilled: bf16 autocast where the device has bf16 instructions, channels_last, fused SGD. With
  --compiled also under torch.compile; the faster of the two counts.
- App: the engine's own training step in --precision, including augmentation and metrics; --without
  disables a replacement of engine/fast.

Each network has its own process, as memory and threads left behind by an earlier network change the
speed of the next, mostly of the baselines: first in a training thread, as in the app, then in the
main thread. The machine's limit is the faster of its matrix products and 3×3 convolutions, and the
share of it counts the multiply-adds of direct convolution (Winograd's algorithm needs fewer).
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench import limits, report
from engine import allocator, fast
from engine.config import PRECISIONS, ModelConfig, RunConfig, with_fields
from engine.data.batches import Splits
from engine.device import fastest_precision, resolve, set_cudnn_deterministic
from engine.models import build_model, whitening
from engine.models.summary import summarize
from engine.randomness import keyed_generator
from engine.training.loop import Trainer
from engine.training.prepare import make_pipeline
from engine.training.step import train_step

STUDY = (
    *("resnet18", "resnet34", "wideresnet14", "resnext18", "densenet121"),
    *("vgg16", "convmixer256d16"),
)
PLAIN, SKILLED, COMPILED = "plain", "skilled", "compiled"
KERNELS = 8  # rows of a profile
WARMUPS = 4  # steps in which a run still allocates memory from the system


@dataclass(frozen=True)
class Throughput(report.Row):
    """`value` of the app, `baseline` and `ratio` of plain PyTorch, and the skilled baseline."""

    skilled: float  # images/s, median
    vs_skilled: float  # median of app / skilled, repeat by repeat
    vs_skilled_spread: tuple[float, float]
    share_of_limit: float | None  # of the machine's GFLOP/s; None: not measured

    def text(self) -> str:
        low, high = self.vs_skilled_spread
        share = "" if self.share_of_limit is None else f"; {self.share_of_limit:.0%} of the limit"
        return (
            f"{self.value:,.4g} {self.unit}: {self.vs_skilled:.2f} times skilled "
            f"{self.skilled:,.4g} ({low:.2f} to {high:.2f}, n = {self.n}), {self.ratio:.2f} times "
            f"plain {self.baseline:,.4g} ({self.spread[0]:.2f} to {self.spread[1]:.2f}){share}"
        )


class Step:
    """Callable that performs one training step of a config on a batch of noise of 10 classes.

    precision: of the app's step; or PLAIN, SKILLED or COMPILED: a baseline. without: replacements
    to disable.
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
        elif precision in (SKILLED, COMPILED):
            self.run = self._skilled(compiled=precision == COMPILED)
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
        return self._baseline(network, network, optimizer, self._inputs().to(device))

    def _skilled(self, compiled: bool) -> Callable[[], None]:
        device, layout = resolve().device, torch.channels_last
        network = self.network.to(device, memory_format=layout)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True
        )
        inputs = self._inputs().to(device, memory_format=layout)
        forward = torch.compile(network) if compiled else network
        bf16 = fastest_precision(device) == "bf16" or device.type == "cuda"
        return self._baseline(network, forward, optimizer, inputs, bf16)

    def _baseline(
        self,
        network: nn.Module,
        forward: Callable[[Tensor], Tensor],
        optimizer: torch.optim.Optimizer,
        inputs: Tensor,
        bf16: bool = False,
    ) -> Callable[[], None]:
        device, labels = inputs.device, self.labels.to(inputs.device)

        def run() -> None:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                loss = F.cross_entropy(forward(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            wait_for(device)

        return run


def wait_for(device: torch.device) -> None:
    """Synchronize with a GPU; no-op on a CPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(name: str, args: argparse.Namespace, **choices) -> Throughput:
    batch_size, config = args.batch_size, config_of(args.batch_size, **choices)
    kinds = [PLAIN, SKILLED, *[COMPILED] * args.compiled]
    baselines = {kind: Step(config, kind) for kind in kinds}
    app = app_step(args, **choices)
    found: dict[str, list[float]] = {kind: [] for kind in (*kinds, "app")}
    for repeat in range(args.repeats):
        set_cudnn_deterministic(False)  # the Trainer enables it for the whole process
        for kind, step in baselines.items():
            # The first call compiles or chooses kernels; later ones only refill caches.
            warmups = WARMUPS if repeat == 0 else 1
            found[kind] += report.rates([step], batch_size, 1, warmups)[0]
        set_cudnn_deterministic(True)
        with allocator.kept_blocks():  # as in a training session
            found["app"] += report.rates([app], batch_size, 1, warmups=WARMUPS)[0]
    skilled = max(kinds[1:], key=lambda kind: statistics.median(found[kind]))
    against = report.compare(name, "images/s", found["app"], found[skilled])
    row = report.compare(name, "images/s", found["app"], found[PLAIN])
    share = None
    if args.limit:
        macs = summarize(build_model(**app.config.model.arguments)).macs
        operations = 2 * limits.STEP_PASSES * macs
        share = row.value * operations / 1e9 / args.limit
    return Throughput(
        *(getattr(row, field) for field in report.Row.__dataclass_fields__),
        skilled=against.baseline,
        vs_skilled=against.ratio,
        vs_skilled_spread=against.spread,
        share_of_limit=share,
    )


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


def measure_in_thread(name: str, args: argparse.Namespace, **choices) -> Throughput:
    found: list[Throughput] = []
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
    parser.add_argument(
        "--compiled", action="store_true", help="compile the skilled baseline as well"
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
        compute = resolve("auto", args.precision)
        work = functools.partial(limits.measure, compute.precision, compute.device, args.repeats)
        speeds = processes.submit(work).result()
        args.limit = max(map(statistics.median, speeds.values()))
        for kind, values in speeds.items():
            yield report.alone(f"{compute.precision} {kind}", "GFLOP/s", values)
        for function in measures:
            for name, choices in tasks:
                yield processes.submit(function, name, args, **choices).result()


if __name__ == "__main__":
    sys.exit(main())
