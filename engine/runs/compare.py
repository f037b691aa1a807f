"""What two runs differ in, and which runs repeat one another with another seed."""

from __future__ import annotations

from typing import Any

from engine.config import FLAGS, RunConfig, get_field
from engine.models import ARCHITECTURES

# Where a run reads and computes, and by which kernels, does not make it another experiment.
PLACES = {"data.root", "data.url", "device", "compile"}
FACTORS = tuple(path for path in FLAGS if path not in PLACES and path != "seed")


def differing(configs: list[RunConfig]) -> list[str]:
    """The factors in which not all configs agree; parameters of switched-off parts do not count."""
    found = []
    for path in FACTORS:
        used = [c for c in configs if _is_used(c, path)]
        values = {repr(_value(c, path)) for c in used}
        if len(values) > 1:
            found.append(path)
    return found


def seed_groups(configs: dict[str, RunConfig]) -> list[list[str]]:
    """Names of runs, together where only the seed differs, in the order given.

    A seed that is there already makes a group of its own: a repeat of it is no independent sample.
    """
    groups: list[list[str]] = []
    for name, config in configs.items():
        for group in groups:
            seeds = {configs[other].seed for other in group}
            if config.seed not in seeds and not differing([configs[group[0]], config]):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _value(config: RunConfig, path: str) -> Any:
    """A field, or what it comes to: an architecture's own activation, norm or whitening."""
    value, architecture = get_field(config, path), ARCHITECTURES[config.model.arch]
    if path == "model.whitening":
        return value or architecture.whitening
    if path in ("model.activation", "model.norm"):
        own = getattr(architecture, path.removeprefix("model."))
        return None if value == own else value
    return value


def _is_used(config: RunConfig, path: str) -> bool:
    needs = {
        "augment.mixup_alpha": config.augment.mixup,
        "augment.cutmix_alpha": config.augment.cutmix,
        "schedule.gamma": config.schedule.kind == "multi_step",
        "optim.momentum": config.optim.optimizer in ("sgd", "muon"),
        "augment.crop_padding": config.augment.crop,
        "augment.crop_reflect": config.augment.crop,
    }
    return needs.get(path, True)
