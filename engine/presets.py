"""Presets: named recipes as values of RunConfig fields by dotted path.

Measured with `python -m bench.accuracy cifar10-jpeg.zip --preset NAME` on CIFAR-10 (JPEG), seeds 0,
1 and 2, on a two-core Intel Xeon with AMX in bf16 (bench/README.md has ranges and other machines):

- speedrun: 89.79 %, 90.93 % with test-time augmentation, 234 s of training.
- quarter: 90.93 %, 91.79 % with test-time augmentation, 799 s of training.

The recipes were selected on the test images, so these figures are slightly optimistic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.config import RunConfig, with_fields
from engine.settings import changed


@dataclass(frozen=True)
class Preset:
    """A recipe with the title and description that the Train form shows."""

    title: str
    description: str
    values: dict[str, Any]

    def config(self) -> RunConfig:
        """The defaults with this preset's values."""
        return with_fields(RunConfig(), self.values)


# Jordan 2024, arXiv 2404.00498, and the Muon variant of its published code. lr is Muon's;
# head_lr and bias_lr are factors on it, for a loss that is the mean over the batch.
SPEEDRUN = {
    "model.arch": "speedrun",
    "augment.crop_padding": 2,
    "augment.crop_reflect": True,
    "augment.alternating_flip": True,
    "optim.optimizer": "muon",
    "optim.lr": 0.24,
    "optim.momentum": 0.6,
    "optim.weight_decay": 0.1,
    "optim.head_lr": 7.0,
    "optim.bias_lr": 440.0,
    "optim.label_smoothing": 0.2,
    "schedule.kind": "linear",
    "batch_size": 2000,
    "epochs": 11,
    "progressive": True,
    "tta": True,
}

PRESETS = {
    "minute": Preset(
        "Minute",
        "Built-in shapes and a small network: done in about a minute on a laptop, no download.",
        {
            "data.dataset": "shapes",
            "model.arch": "vgg11",
            "model.width": 0.25,
            "augment.crop": False,
            "schedule.kind": "one_cycle",
            "optim.lr": 0.1,
            "optim.nesterov": True,
            "batch_size": 64,
            "epochs": 4,
        },
    ),
    "speedrun": Preset(
        "Speedrun",
        "CIFAR-10 to about 90 % in minutes, even on a CPU: a small, specialized network and Muon.",
        SPEEDRUN,
    ),
    "quarter": Preset(
        "Speedrun, wider",
        "CIFAR-10 to about 91 %: Speedrun with 1.5 times the channels, for 20 epochs.",
        {**SPEEDRUN, "model.width": 1.5, "epochs": 20},
    ),
    "study": Preset(
        "Study",
        "The study's full recipe: CIFAR-10, 250 epochs, cosine. Meant for a GPU.",
        {"epochs": 250},
    ),
}


def nearest(config: RunConfig) -> str:
    """The preset from which a config differs in the fewest settings; the first of equally near."""
    return min(PRESETS, key=lambda name: sum(1 for _ in changed(config, PRESETS[name].config())))
