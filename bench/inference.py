"""Inference of the app, in images/s, against plain fp32 PyTorch.

Baseline: the same network in fp32, NCHW and eager mode, in batches of 500. App: the code of
`--evaluate` and validation, in this machine's "auto" precision. Both classify --images images on
the same device; the largest difference of their logits is printed in percent of the logits'
standard deviation. Also prints the time of the Classify page's predictor for one upload, in
milliseconds, from the bytes of the file to the answer, with the network loaded.
"""

from __future__ import annotations

import argparse
import io
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench import report
from engine import allocator
from engine.augment import normalize
from engine.config import ModelConfig, RunConfig
from engine.device import Compute, resolve
from engine.evaluate import EVAL_BATCH, predict_logits
from engine.fast import accelerate
from engine.models import build_model, whitening
from engine.predict import Network, Predictor, decode_image
from engine.randomness import keyed_generator

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def untuned(arch: str) -> torch.nn.Module:
    """The baseline network: fp32, NCHW, with running statistics of one batch of noise."""
    model = build_model(**ModelConfig(arch).arguments)
    noise = torch.randn(64, 3, 32, 32, generator=keyed_generator(1))
    if layer := whitening.find(model):  # its filters are zero until they are fitted
        layer.fit(noise)
    with torch.no_grad():
        model.train()(noise)
    return model.eval()


def tuned(arch: str, compute: Compute) -> torch.nn.Module:
    """The same network as the app runs it."""
    model = untuned(arch).to(compute.device, memory_format=compute.memory_format)
    return accelerate(model, compute, training=False)


def plain(model: torch.nn.Module, images: torch.Tensor, device: torch.device):
    model, on_device = model.to(device), images.to(device)

    def run() -> torch.Tensor:
        with torch.inference_mode():
            parts = on_device.split(EVAL_BATCH)
            return torch.cat([model(normalize(part, MEAN, STD)) for part in parts]).cpu()

    return run


def app(model: torch.nn.Module, images: torch.Tensor, compute: Compute):
    on_device = images.to(compute.device)

    def run() -> torch.Tensor:
        parts = on_device.split(EVAL_BATCH)
        logits = [predict_logits(model, part, MEAN, STD, compute) for part in parts]
        return torch.cat(logits).cpu()

    return run


def upload_seconds(arch: str, repeats: int) -> list[float]:
    compute = Compute(torch.device("cpu"), "fp32")  # as the page loads it
    classes = tuple(f"class {number}" for number in range(10))
    model = tuned(arch, compute)
    config = RunConfig(ModelConfig(arch, num_classes=10))
    predictor = Predictor(Network(model, classes, MEAN, STD, config, Path("none")), compute)
    pixels = np.random.default_rng(1).integers(0, 256, (1080, 1920, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    found = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        predictor.top_k([decode_image(file.getvalue())])
        found.append(time.perf_counter() - start)
    return found[1:]


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--arch", nargs="+", default=["resnet18", "vgg16", "densenet121"])
    parser.add_argument("--images", type=int, default=10_000)
    args = parser.parse_args(arguments)
    return report.publish(rows(args), args.json)


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    compute = resolve()
    draw = keyed_generator(2)
    images = torch.randint(256, (args.images, 3, 32, 32), dtype=torch.uint8, generator=draw)
    for arch in args.arch:
        base = plain(untuned(arch), images, compute.device)
        tested = app(tuned(arch, compute), images, compute)
        values, baselines = [], []
        for _ in range(args.repeats):
            baselines += report.rates([base], args.images, 1, warmups=0)[0]
            with allocator.kept_blocks():  # as in engine.predict.measure
                values += report.rates([tested], args.images, 1, warmups=0)[0]
        yield report.compare(f"{arch}, {compute.precision}", "images/s", values, baselines)
        logits, exact = tested(), base()
        error = ((logits - exact).abs().max() / exact.std()).item()
        yield report.alone(f"{arch}: largest logit error, of their std", "%", [100 * error])
    times = upload_seconds(args.arch[0], max(10, args.repeats))
    milliseconds = [1000 * seconds for seconds in times]
    yield report.alone(f"{args.arch[0]}: one upload of 1920×1080", "ms", milliseconds)


if __name__ == "__main__":
    sys.exit(main())
