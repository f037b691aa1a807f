"""Check PyTorch's convolution kernels on this CPU for every shape used by the architectures.

    python scripts/sweep_convolutions.py --layers plain
    python scripts/sweep_convolutions.py --layers app --precision bf16

Each convolution runs forward and backward, channels_last, and its output and both gradients are
compared with those of the contiguous format in fp64. Kernels that write out of bounds crash the
process, immediately or later, so shapes run in child processes under glibc's heap checks (if
installed), and the shape that a child died of, there or later, is found by bisection.
`ONEDNN_MAX_CPU_ISA` emulates an older CPU: AVX512_CORE_BF16 (no AMX), AVX512_CORE (no bf16), AVX2.

Exit code 1 if a shape crashes or is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1]))

from engine.device import Compute
from engine.errors import ConfigError
from engine.fast import accelerate
from engine.models import ARCHITECTURES, build_on_meta
from engine.training import progressive

WIDTHS = (0.0625, 0.125, 0.25, 0.375, 0.5, 1.0, 1.5, 2.0)
BATCHES = (1, 2, 3, 4, 5, 7, 127)
TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}  # ‖difference‖ / ‖fp64 result‖
TRIES = 3  # of cases that crashed: they may not do so every time
REPEATS = 5  # for small shapes: a kernel that corrupts memory does not crash every time
HEAP_CHECKS = "/usr/lib/x86_64-linux-gnu/libc_malloc_debug.so"


class Shape(NamedTuple):
    """A convolution and the size of its input feature map."""

    inputs: int
    outputs: int
    kernel: int
    stride: int
    padding: int
    groups: int
    size: int


def shapes(widths: tuple[float, ...] = WIDTHS) -> list[Shape]:
    """The distinct convolutions of all architectures at these widths."""
    found: set[Shape] = set()

    def note(module: nn.Conv2d, inputs: tuple[torch.Tensor, ...]) -> None:
        padding = module.kernel_size[0] // 2 if module.padding == "same" else module.padding[0]
        found.add(
            Shape(
                module.in_channels,
                module.out_channels,
                module.kernel_size[0],
                module.stride[0],
                padding,
                module.groups,
                inputs[0].shape[2],
            )
        )

    for arch in ARCHITECTURES:
        for width in widths:
            try:
                model = build_on_meta(arch, width=width)
            except ConfigError:  # a width that leaves no channels
                continue
            for module in model.modules():
                if isinstance(module, nn.Conv2d):
                    module.register_forward_pre_hook(note)
            for size in (32, *_progressive_sizes(model)):
                model(torch.empty(2, 3, size, size, device="meta"))
    return sorted(found)


def _progressive_sizes(model: nn.Module) -> list[int]:
    try:
        progressive.check(model)
    except ConfigError:
        return []
    return progressive.sizes(32)


def errors(shape: Shape, batch: int, precision: str, layers: str) -> dict[str, float]:
    """Relative errors of the output and of the gradients, the largest of a few repetitions."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, shape.inputs, shape.size, shape.size, generator=generator)
    conv = nn.Conv2d(
        shape.inputs,
        shape.outputs,
        shape.kernel,
        shape.stride,
        shape.padding,
        groups=shape.groups,
        bias=False,
    )
    nn.init.kaiming_normal_(conv.weight, generator=generator)
    if precision == "bf16":  # round, so that both computations have the same inputs
        x, conv.weight.data = (t.bfloat16().float() for t in (x, conv.weight.data))
    wide = [t.detach().double().requires_grad_() for t in (x, conv.weight)]
    exact = F.conv2d(*wide, None, shape.stride, shape.padding, groups=shape.groups)
    grad = torch.randn(exact.shape, generator=generator).bfloat16()
    expected = (exact.detach(), *torch.autograd.grad(exact, wide, grad.double()))

    compute = Compute(torch.device("cpu"), precision)
    conv = conv.to(memory_format=torch.channels_last)
    if layers == "app":
        conv = accelerate(nn.Sequential(conv), compute, training=False)[0]
    small = x.numel() * shape.outputs < 2**24
    worst = dict.fromkeys(("output", "grad_input", "grad_weight"), 0.0)
    for _ in range(REPEATS if small else 1):
        images = x.to(memory_format=torch.channels_last, copy=True).requires_grad_()
        conv.weight.grad = None
        with compute.autocast():
            out = conv(images)
        out.backward(grad.to(out.dtype).to(memory_format=torch.channels_last))
        for name, got, want in zip(
            worst, (out, images.grad, conv.weight.grad), expected, strict=True
        ):
            error = (got.detach().double() - want).norm() / want.norm().clamp_min(1e-12)
            worst[name] = max(worst[name], error.item())
            if not error.isfinite():
                worst[name] = float("inf")
    return worst


def child(cases: list[list[Any]], precision: str, layers: str) -> None:
    """Run the cases, printing a line before and one after each."""
    for index, (shape, batch) in enumerate(cases):
        print(json.dumps({"begins": index}), flush=True)
        print(json.dumps({"errors": errors(Shape(*shape), batch, precision, layers)}), flush=True)


def run(
    cases: list[tuple[Shape, int]], precision: str, layers: str, *, heap_checks: bool
) -> tuple[list[dict[str, float]], int]:
    """Results of the cases, up to where the child died, and its exit code."""
    environment = dict(os.environ)
    if heap_checks and Path(HEAP_CHECKS).exists():
        environment |= {"LD_PRELOAD": HEAP_CHECKS, "MALLOC_CHECK_": "3"}
    command = [sys.executable, __file__, "--child", "--precision", precision, "--layers", layers]
    done = subprocess.run(
        command, input=json.dumps(cases), capture_output=True, text=True, env=environment
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode > 0:
        raise SystemExit(done.stderr)
    return [line["errors"] for line in lines if "errors" in line], done.returncode


def sweep(cases: list[tuple[Shape, int]], precision: str, layers: str) -> int:
    """Print every case that crashes or is wrong. Returns their number."""
    bad, start, part = 0, 0, 400
    while start < len(cases):
        chunk = cases[start : start + part]
        results, code = run(chunk, precision, layers, heap_checks=True)
        for (shape, batch), result in zip(chunk, results, strict=False):
            if max(result.values()) > TOLERANCE[precision]:
                bad += 1
                print(f"WRONG {precision} batch {batch} {shape}: {result}", flush=True)
        start += len(results)
        if code:  # also after the last case: memory that it corrupted is noticed at exit
            bad += 1
            died = min(len(results), len(chunk) - 1)
            found = culprit(chunk[: died + 1], precision, layers)
            shape, batch = chunk[died if found is None else found]
            why = "not again" if found is None else f"noticed {died - found} cases later"
            print(f"CRASH {precision} batch {batch} {shape}: exit {code}, {why}", flush=True)
            start += len(results) < len(chunk)
        print(f"{start} of {len(cases)}", file=sys.stderr, flush=True)
    return bad


def culprit(cases: list[tuple[Shape, int]], precision: str, layers: str) -> int | None:
    """Index of the last case from which on the child dies; None if it does not die again.

    A kernel may corrupt memory that a later one trips over. Bisection over the first case that is
    run, with the last always among them.
    """

    def dies(first: int) -> bool:
        codes = (run(cases[first:], precision, layers, heap_checks=True)[1] for _ in range(TRIES))
        return any(codes)

    if not dies(0):
        return None
    low, high = 0, len(cases)  # the child dies from `low` on, and would not from `high` on
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if dies(middle) else (low, middle)
    return low


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", choices=("plain", "app"), default="plain")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--largest", type=float, help="skip shapes with more MACs per image")
    parser.add_argument("--strided", action="store_true", help="only convolutions with stride > 1")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.load(sys.stdin), options.precision, options.layers)
        return
    found = shapes()
    if options.largest:
        found = [s for s in found if work(s) <= options.largest]
    if options.strided:
        found = [s for s in found if s.stride > 1]
    cases = [(shape, batch) for shape in found for batch in options.batches]
    print(f"{len(found)} shapes, {len(cases)} cases", file=sys.stderr)
    raise SystemExit(1 if sweep(cases, options.precision, options.layers) else 0)


def work(shape: Shape) -> float:
    """Multiply-accumulates of the forward pass, per image."""
    positions = (shape.size // shape.stride) ** 2
    return positions * shape.kernel**2 * shape.inputs * shape.outputs / shape.groups


if __name__ == "__main__":
    main()
