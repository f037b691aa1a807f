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
    "study": Preset(
        "Study",
        "The study's full recipe: CIFAR-10, 250 epochs, cosine. Meant for a GPU.",
        {"epochs": 250},
    ),
}
