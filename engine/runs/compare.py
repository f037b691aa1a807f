"""Differences between runs and between their data, and groups that differ in the seed only."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from pathlib import PurePath
from typing import Any

from engine.config import SETTINGS, RunConfig
from engine.models import ARCHITECTURES
from engine.settings import Role, Setting, get_field, is_used, number_text

SHOWN = 200  # characters of class names in a message
TOLD = 3  # settings in a label of a run; with more, its name is shorter
Info = dict[str, Any] | None  # of a data set, from Run.dataset_info


def data_differences(known: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What differs between two descriptions of data sets (ImageData.describe); empty if nothing.

    A description without a fingerprint, of an older run, is compared by classes, mean and std.
    """
    found = []
    before, classes = known.get("classes") or [], now.get("classes") or []
    if list(before) != list(classes):
        found.append(f"the classes ({_names(classes)}; were {_names(before)})")
    prints = known.get("fingerprint"), now.get("fingerprint")
    if all(prints):
        for split, title in (("train", "training"), ("test", "test")):
            found += _split_differences(title, *(each.get(split, {}) for each in prints))
    if not found and not _same_statistics(known, now):
        found.append("the mean and std of the training images")
    return found


def other_images(known: Info, now: dict[str, Any]) -> str:
    """A sentence if these are not the images that a run was trained on; empty otherwise.

    known: of the run; now: of the images (ImageData.describe).
    """
    found = data_differences(known, now) if known else []
    if not found:
        return ""
    return f"These are not the images that the run was trained on. Different: {'; '.join(found)}."


def data_id(info: Info) -> str:
    """Six digits that tell apart data sets of the same name; empty for runs without a fingerprint.

    info: as for `differing`.
    """
    if not (info and info.get("fingerprint")):
        return ""
    identity = json.dumps([info.get("classes"), info["fingerprint"]], sort_keys=True)
    return hashlib.sha256(identity.encode()).hexdigest()[:6]


def _names(classes: list[str]) -> str:
    # Quoted: the name of a folder may contain terminal escape sequences.
    return ", ".join(map(repr, classes))[:SHOWN]


def _split_differences(title: str, known: dict[str, Any], now: dict[str, Any]) -> list[str]:
    before, count = known.get("count"), now.get("count")
    if before != count:
        return [f"the number of {title} images ({count}; were {before})"]
    parts = (("images", f"the {title} images, or their order"), ("labels", f"the {title} labels"))
    return [text for key, text in parts if known.get(key) != now.get(key)]


def _same_statistics(known: dict[str, Any], now: dict[str, Any]) -> bool:
    before, after = ([*(i.get("mean") or ()), *(i.get("std") or ())] for i in (known, now))
    # The last digits may differ between platforms.
    return len(before) == len(after) and all(
        math.isclose(a, b, rel_tol=1e-6) for a, b in zip(before, after, strict=True)
    )


def differing(configs: list[RunConfig], infos: list[Info] | None = None) -> list[str]:
    """Paths of the settings in which not all configs agree.

    Seeds, places and settings that have no effect in a config do not count. infos: of the data set
    of each config; where they are known, data sets are compared by their contents.
    """
    found = []
    for path, setting in SETTINGS.items():
        if setting.flag is None or setting.role in (Role.PLACE, Role.SEED):
            continue
        used = [c for c in configs if is_used(c, setting)]
        if path == "data.dataset":
            pairs = list(zip(configs, infos or [None] * len(configs), strict=True))
            differs = any(not same_data(pairs[0], pair) for pair in pairs[1:])
        else:
            differs = len({repr(_value(c, path)) for c in used}) > 1
        if differs:
            found.append(path)
    return found


def same_data(a: tuple[RunConfig, Info], b: tuple[RunConfig, Info]) -> bool:
    """Whether two runs use the same images and labels, as far as is known.

    Each is a config and the description of its data set; None before that was loaded.
    """
    same_place = a[0].data.dataset == b[0].data.dataset
    # A run that has not loaded its data yet, or other pixels because they were fitted otherwise.
    if not (a[1] and b[1]) or a[0].data.fit != b[0].data.fit:
        return same_place
    told = a[1].get("fingerprint") and b[1].get("fingerprint")
    return (told or same_place) and not data_differences(a[1], b[1])


def same_but_seed(configs: list[RunConfig], infos: list[Info]) -> bool:
    """Whether two runs repeat one experiment: they differ in the seed at most.

    infos: as for `differing`.
    """
    a, b = configs
    # These comparisons are cheap; there may be a thousand runs.
    same = (a.epochs, a.batch_size, a.model.arch) == (b.epochs, b.batch_size, b.model.arch)
    return same and not differing(configs, infos)


def seed_groups(
    configs: dict[str, RunConfig], infos: dict[str, Info] | None = None
) -> list[list[str]]:
    """Names of runs grouped by config; within a group only the seed differs. Keeps the order.

    A run whose seed is in the group already starts another one: it is no independent sample.
    infos: of the data set of each run; see `differing`.
    """
    infos = infos or {}
    groups: list[list[str]] = []
    for name, config in configs.items():
        for group in groups:
            seeds = {configs[other].seed for other in group}
            pair = [group[0], name]
            if config.seed not in seeds and not differing(
                [configs[each] for each in pair], [infos.get(each) for each in pair]
            ):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def distinguish(
    configs: dict[str, RunConfig], infos: dict[str, Info] | None = None
) -> dict[str, str]:
    """A label for each run that says in what it differs from the others: "mish · width 0.5".

    Their names where nothing differs, or more than TOLD settings. No two labels are alike: runs
    that their settings do not tell apart have their seed, or else their name, in the label as well.
    infos: of the data set of each run; see `differing`.
    """
    infos = infos or {}
    paths = differing(list(configs.values()), [infos.get(name) for name in configs])
    if not 0 < len(paths) <= TOLD:
        return {name: name for name in configs}
    labels = {name: _label(config, paths) for name, config in configs.items()}
    for last in (lambda name: f"seed {configs[name].seed}", str):
        counts = Counter(labels.values())
        labels = {
            name: label if label and counts[label] == 1 else f"{label} · {last(name)}".strip(" ·")
            for name, label in labels.items()
        }
    return labels


def _label(config: RunConfig, paths: list[str]) -> str:
    used = [setting for path in paths if is_used(config, setting := SETTINGS[path])]
    return " · ".join(_told(setting, config) for setting in used)


def _told(setting: Setting, config: RunConfig) -> str:
    """The value of a setting in a few words."""
    value, word = _value(config, setting.path), setting.label.lower()
    if setting.path in ("model.activation", "model.norm") and value is None:
        return getattr(ARCHITECTURES[config.model.arch], setting.key)
    if setting.kind is bool:
        return word if value else f"no {word}"
    if setting.path == "data.dataset":
        return PurePath(value).name
    if setting.path == "pretrained":
        return f"from {PurePath(value).name}" if value else "from scratch"
    if setting.choices:
        return setting.titles.get(value, value)
    if isinstance(value, str):
        return f"{word} {value}"
    if isinstance(value, tuple):
        return f"{word} {', '.join(map(str, value))}"
    text = setting.none or "none" if value is None else number_text(value)
    return f"{text} {word}" if setting.path == "epochs" else f"{word} {text}"


def _value(config: RunConfig, path: str) -> Any:
    """The value of a setting, resolved where None means the architecture's own."""
    value, architecture = get_field(config, path), ARCHITECTURES[config.model.arch]
    if path == "model.whitening":
        return value or architecture.whitening
    if path in ("model.activation", "model.norm"):
        own = getattr(architecture, path.removeprefix("model."))
        return None if value == own else value
    return value
