"""What two runs differ in, and which runs repeat one another with another seed."""

from __future__ import annotations

from typing import Any

from engine.config import FLAGS, RunConfig, get_field

# Where a run reads and computes does not make it another experiment.
PLACES = {"data.root", "data.url", "device"}
FACTORS = tuple(path for path in FLAGS if path not in PLACES and path != "seed")


def factors(config: RunConfig) -> dict[str, Any]:
    """The fields that make a run the experiment it is, all but its seed."""
    return {path: get_field(config, path) for path in FACTORS}


def differing(configs: list[RunConfig]) -> list[str]:
    """The factors in which not all configs agree; parameters of switched-off parts do not count."""
    found = []
    for path in FACTORS:
        used = [c for c in configs if _is_used(c, path)]
        values = {repr(get_field(c, path)) for c in used}
        if len(values) > 1:
            found.append(path)
    return found


def seed_groups(configs: dict[str, RunConfig]) -> list[list[str]]:
    """Names of runs, together where only the seed differs, in the order given."""
    groups: list[list[str]] = []
    for name, config in configs.items():
        for group in groups:
            if not differing([configs[group[0]], config]):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _is_used(config: RunConfig, path: str) -> bool:
    needs = {
        "augment.mixup_alpha": config.augment.mixup,
        "augment.cutmix_alpha": config.augment.cutmix,
        "schedule.gamma": config.schedule.kind == "multi_step",
        "optim.momentum": config.optim.optimizer == "sgd",
    }
    return needs.get(path, True)
