"""Texts as the pages show them: durations, percentages, and what comes from outside, made safe."""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.config import RunConfig
from engine.runs.run import Status
from pages.ui import folders


def duration(seconds: float) -> str:
    """Such as 40 s, 12 min, 3.5 h, 3.0 days."""
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return (
                f"{seconds / size:.1f} {unit}"
                if seconds < 10 * size
                else f"{seconds / size:.0f} {unit}"
            )
    return f"{seconds:.0f} s"


def time_left(status: Status) -> str:
    """Such as "12 min left"; "about" while it is a first guess. For a status with eta_seconds."""
    about = "" if status.eta_settled else "about "
    return f"{about}{duration(status.eta_seconds)} left"


def percent(fraction: float | None) -> str:
    """Such as 93.78 %; – for None."""
    # a half is rounded up, as the browser does: 93.775 is often a little less in binary
    return "–" if fraction is None else f"{100 * fraction + 1e-9:.2f} %"


def command(config: RunConfig, name: str) -> str:
    """The terminal line that repeats a run of this server."""
    root = None if Path("checkpoints") == folders.RUN_ROOT else str(folders.RUN_ROOT)
    return config.to_command(name, root)


def printable(text: str) -> str:
    """Control characters and bidirectional marks replaced, which could hide, turn or break it."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shown_name(name: str) -> str:
    """A file's name as it is shown: printable, and not too long."""
    plain = printable(name)
    return (plain if len(plain) <= 80 else f"{plain[:60]}…{plain[-19:]}") or "(no name)"


def code(text: str) -> str:
    """Text from outside as Markdown that shows it letter by letter: a code span."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if text.strip() else "` `"


def markdown(text: str) -> str:
    """Text from outside with Markdown's special characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>$~#|:])", r"\\\1", text)


def plain(error: Exception) -> str:
    """The first line of an error without any folder of this computer; not yet Markdown."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    for root in (folders.RUN_ROOT, folders.DATA_ROOT, folders.SHIPPED):
        text = text.replace(f"{root.resolve().parent}{os.sep}", "")
    return re.sub(r"(?<![\w.])(?:[A-Za-z]:)?[\\/](?:[^\s\\/'\"]+[\\/])+", "", text)
