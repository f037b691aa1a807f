"""Presets: named recipes as values of RunConfig fields by dotted path.

Measured with `python -m bench.accuracy cifar10-jpeg.zip --preset NAME` on CIFAR-10 (JPEG), seeds 0,
1 and 2, on a two-core Intel Xeon with AMX in bf16 (bench/README.md has ranges and other machines):

- speedrun: 89.79 %, 90.93 % with test-time augmentation, 234 s of training.
- quarter: 90.93 %, 91.79 % with test-time augmentation, 799 s of training.

The recipes were selected on the test images, so these figures are slightly optimistic.

- finetune was chosen with `python -m bench.finetune --choose`, on deer against horse with 40 images
  of each, from a small network trained on the other eight classes (83.3 % on them); means of two
  seeds, 1,000 test images: learning rate 0.001 75.2 %, 0.003 77.3 %, 0.01 79.7 %, 0.03 74.9 %; head
  at 100 times the rate of the body instead of 10 times 76.3 %; the head almost alone 70.4 %, so no
  epochs with a frozen body. From scratch: speedrun 74.4 %, vgg11 71.7 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.config import SETTINGS, RunConfig, with_fields
from engine.settings import changed, get_field


@dataclass(frozen=True)
class Preset:
    """A recipe with the title and description that the Train form shows."""

    title: str
    description: str
    values: dict[str, Any]
    keeps: tuple[str, ...] = ()  # paths of settings that a form keeps where it has initial weights
    accuracy: float | None = None  # on the test images, in %, without test-time augmentation

    def config(self) -> RunConfig:
        """The defaults with this preset's values."""
        return with_fields(RunConfig(), self.values)

    def over(self, config: RunConfig) -> RunConfig:
        """This preset with what it keeps of `config`."""
        kept = [path for path in self.keeps if config.pretrained or path.startswith("data.")]
        return with_fields(self.config(), {path: get_field(config, path) for path in kept})


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

FINE_TUNE = "finetune"

PRESETS = {
    "minute": Preset(
        "Minute",
        "Built-in shapes, a small network, no download: about a minute on a quiet laptop.",
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
        "CIFAR-10 to about 90 % in 11 epochs: a small network made for a CPU, trained with Muon.",
        SPEEDRUN,
        accuracy=89.79,
    ),
    "quarter": Preset(
        "Speedrun, wider",
        "CIFAR-10 to about 91 %: Speedrun with 1.5 times the channels, for 20 epochs.",
        {**SPEEDRUN, "model.width": 1.5, "epochs": 20},
        accuracy=90.93,
    ),
    FINE_TUNE: Preset(
        "Fine-tune",
        "Fine-tunes a trained network on a few dozen images of each class.",
        {
            "pretrained": "speedrun-wide",
            "model.arch": "speedrun",
            "model.width": 1.5,
            "augment.erasing": True,
            "optim.lr": 0.01,
            "optim.head_lr": 10.0,
            "optim.nesterov": True,
            "schedule.kind": "one_cycle",
            "batch_size": 8,
            "epochs": 20,
        },
        keeps=(
            "pretrained",
            *(path for path in SETTINGS if path.startswith(("data.", "model."))),
        ),
    ),
    "study": Preset(
        "Study",
        "The published study's recipe: CIFAR-10, 250 epochs, cosine schedule. Meant for a GPU.",
        {"epochs": 250},
    ),
}


def nearest(config: RunConfig) -> str:
    """The preset from which a config differs in the fewest settings; the first of equally near."""
    distances = {
        name: sum(1 for _ in changed(config, preset.over(config)))
        for name, preset in PRESETS.items()
        if config.pretrained or not preset.keeps
    }
    return min(distances, key=distances.get)
