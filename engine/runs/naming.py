"""Names of runs that say what they train."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from engine.config import SETTINGS, RunConfig
from engine.presets import PRESETS
from engine.settings import Role, Setting, changed

LENGTH = 60  # characters up to which changes are added


def describe(config: RunConfig) -> str:
    """The network, the augmentations, and what else is changed from the nearest preset or defaults.

    For example resnet18-mish-mixup-lr0.05-seed3.
    """
    model = config.model
    words = [model.arch, model.activation, model.norm]
    words.append(f"w{model.width:g}" if model.width != 1 else None)
    words += [name for name in ("erasing", "mixup", "cutmix") if getattr(config.augment, name)]
    if config.pretrained:
        words.append(_word(SETTINGS["pretrained"], config.pretrained))
    name = "-".join(word for word in words if word)
    named = (*("model.arch", "model.activation", "model.norm", "model.width"),)
    named += ("pretrained", "augment.erasing", "augment.mixup", "augment.cutmix")
    bases = [RunConfig(), *(preset.config() for preset in PRESETS.values())]
    changes = min(([*changed(config, base)] for base in bases), key=len)
    for setting, value in sorted(changes, key=lambda change: change[0].role is Role.SEED):
        if not setting.flag or setting.path in named or setting.role is Role.PLACE:
            continue
        longer = f"{name}-{_word(setting, value)}"
        # The seed comes last of all, and never falls off: it tells repeated experiments apart.
        if len(longer) <= LENGTH or setting.role is Role.SEED:
            name = longer
    return name


def _word(setting: Setting, value: Any) -> str:
    """A changed setting as part of a name, such as lr0.05, no-flip or from-my-run."""
    flag = setting.flag.removeprefix("--").removeprefix("no-")
    if isinstance(value, bool):
        return flag if value else f"no-{flag}"
    if isinstance(value, int | float):
        return f"{flag}{value:g}" if isinstance(value, float) else f"{flag}{value}"
    if setting.path == "pretrained":
        place, file = Path(value), _without(value, ".safetensors")
        value = f"from-{place.parent.name if file in ('last', 'best') else file}"
    elif isinstance(value, tuple):
        value = f"{flag}{'-'.join(map(str, value))}"
    elif setting.path == "data.dataset":
        value = _without(value, ".zip")
    word = str(value if value is not None else f"{flag}-all")
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", word).strip("-.")[:30] or flag


def _without(path: str, ending: str) -> str:
    """The name of a file or folder without this ending; other dots, as in pets-1.0, are kept."""
    name = Path(path).name
    return name[: -len(ending)] if name.lower().endswith(ending) else name
