"""Augmentation of whole batches, in images/s, against torchvision's per-image transforms.

Both crop, flip, normalize and erase on the CPU, from in-memory images (app: uint8 tensors;
baseline: PIL images) to a float batch. Without a GPU, also prints the augmentation's share of a
training step of --arch, in percent.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from bench import report
from bench.throughput import Step, config_of
from engine import allocator
from engine.augment import Pipeline, RandomCrop, RandomErasing, RandomHorizontalFlip
from engine.device import resolve
from engine.randomness import keyed_generator

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


def make_images(count: int) -> torch.Tensor:
    """Noise, uint8 (count, 3, 32, 32); the transforms do not depend on the content."""
    return torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=keyed_generator(1))


def batched(images: torch.Tensor, batch_size: int):
    """Callable that augments all images once, as the training loop does."""
    pipeline = Pipeline(MEAN, STD, RandomCrop(), RandomHorizontalFlip(), RandomErasing())
    labels = torch.zeros(len(images), dtype=torch.long)
    order = torch.randperm(len(images), generator=keyed_generator(2))

    def run() -> None:
        for step, start in enumerate(range(0, len(images), batch_size)):
            chosen = order[start : start + batch_size]
            batch = images.index_select(0, chosen)  # as in the training loop
            params = pipeline.sample(batch.shape, keyed_generator(3, step))
            inputs, *_ = pipeline.apply(batch, labels[chosen], params)
            inputs.contiguous(memory_format=torch.channels_last)

    return run


def per_image(images: torch.Tensor, batch_size: int):
    """Callable that does the same with torchvision, in this process."""
    pictures = [Image.fromarray(i) for i in np.ascontiguousarray(images.permute(0, 2, 3, 1))]
    steps = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
            transforms.RandomErasing(),
        ]
    )

    def run() -> None:
        for start in range(0, len(pictures), batch_size):
            torch.stack([steps(picture) for picture in pictures[start : start + batch_size]])

    return run


def main(arguments: list[str] | None = None) -> int:
    parser = report.parser(__doc__)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--arch", default="resnet18", help="network of the training step")
    args = parser.parse_args(arguments)
    return report.publish(rows(args), args.json)


def rows(args: argparse.Namespace) -> Iterator[report.Row]:
    images = make_images(args.images)
    app, baseline = batched(images, args.batch_size), per_image(images, args.batch_size)
    values, baselines = [], []
    for _ in range(args.repeats):
        baselines += report.rates([baseline], args.images, 1)[0]
        with allocator.kept_blocks():  # as in a training session
            values += report.rates([app], args.images, 1)[0]
    yield report.compare("crop, flip, normalize, erasing", "images/s", values, baselines)

    if resolve().device.type != "cpu":
        return  # a share of the CPU's time says nothing about a step on a GPU
    step = Step(config_of(args.batch_size, args.arch), "auto")
    with allocator.kept_blocks():
        (steps,) = report.rates([step], args.batch_size, args.repeats, warmups=2)
    shares = [100 * whole / part for whole, part in zip(steps, values, strict=True)]
    yield report.alone(f"augmentation in a {args.arch} step", "%", shares)


if __name__ == "__main__":
    sys.exit(main())
