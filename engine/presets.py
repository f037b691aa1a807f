"""Named starting points for a run: values of RunConfig fields by dotted path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from engine.config import RunConfig, with_fields


@dataclass(frozen=True)
class Preset:
    title: str
    description: str
    values: dict[str, Any]

    def config(self) -> RunConfig:
        return with_fields(RunConfig(), self.values)


# Jordan 2024, arXiv 2404.00498, and the Muon variant of its program. lr is Muon's; the factors
# bring the rates of the head and the biases there into its units, for the mean over a batch.
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
        "CIFAR-10 to about 90 % in minutes, even on a CPU: a small network made for it, and Muon.",
        SPEEDRUN,
    ),
    "quarter": Preset(
        "Quarter",
        "CIFAR-10 to about 91 %: Speedrun with half as many channels again, and longer: 20 epochs.",
        {**SPEEDRUN, "model.width": 1.5, "epochs": 20},
    ),
    "study": Preset(
        "Study",
        "The study's full recipe: CIFAR-10, 250 epochs, cosine. Meant for a GPU.",
        {"epochs": 250},
    ),
}
