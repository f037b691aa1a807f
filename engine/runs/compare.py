"""Differences between the configs of runs, and groups of runs that differ in the seed only."""

from __future__ import annotations

from typing import Any

from engine.config import SETTINGS, RunConfig
from engine.models import ARCHITECTURES
from engine.settings import Role, get_field, is_used


def differing(configs: list[RunConfig]) -> list[str]:
    """Paths of the settings in which not all configs agree.

    Seeds, places and settings that have no effect in a config do not count.
    """
    found = []
    for path, setting in SETTINGS.items():
        if setting.flag is None or setting.role in (Role.PLACE, Role.SEED):
            continue
        values = {repr(_value(c, path)) for c in configs if is_used(c, setting)}
        if len(values) > 1:
            found.append(path)
    return found


def seed_groups(configs: dict[str, RunConfig]) -> list[list[str]]:
    """Names of runs grouped by config; within a group only the seed differs. Keeps the order.

    A run whose seed is in the group already starts another one: it is no independent sample.
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
    """The value of a setting, resolved where None means the architecture's own."""
    value, architecture = get_field(config, path), ARCHITECTURES[config.model.arch]
    if path == "model.whitening":
        return value or architecture.whitening
    if path in ("model.activation", "model.norm"):
        own = getattr(architecture, path.removeprefix("model."))
        return None if value == own else value
    return value
