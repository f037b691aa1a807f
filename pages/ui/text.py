"""Text formatting for the pages: time left, percentages, and sanitized untrusted text."""

from __future__ import annotations

import os
import re
from pathlib import Path

from engine.config import RunConfig
from engine.data.progress import format_duration
from engine.runs.run import Run, Status
from pages.ui import folders


def time_left(status: Status) -> str:
    """Time left, such as "12 min left", with "about" until settled. Requires status.eta_seconds."""
    about = "" if status.eta_settled else "about "
    return f"{about}{format_duration(status.eta_seconds)} left"


def percent(fraction: float | None, digits: int = 2) -> str:
    """Format a fraction, such as "93.78 %"; "–" for None."""
    # Round half up, like the browser: in binary, 93.775 is often slightly less.
    return "–" if fraction is None else f"{100 * fraction + 1e-9:.{digits}f} %"


def called(run: Run) -> str:
    """What a run is called: its title, or else its name. Not escaped."""
    return run.title() or run.name


def in_full(run: Run) -> str:
    """A run's title with its name in brackets, or its name alone. Not escaped."""
    title = run.title()
    return f"{title} ({run.name})" if title else run.name


def command(config: RunConfig, name: str) -> str:
    """The terminal command that repeats a run of this server."""
    root = None if Path("checkpoints") == folders.RUN_ROOT else str(folders.RUN_ROOT)
    return config.to_command(name, root)


def printable(text: str) -> str:
    """Replace control and bidirectional characters, which could hide, reorder or break text."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def shown_name(name: str) -> str:
    """A file name for display: printable, and at most 80 characters long."""
    plain = printable(name)
    return (plain if len(plain) <= 80 else f"{plain[:60]}…{plain[-19:]}") or "(no name)"


def code(text: str) -> str:
    """Untrusted text as a Markdown code span, which shows it literally."""
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if text.strip() else "` `"


def markdown(text: str) -> str:
    """Untrusted text with Markdown's special characters escaped."""
    return re.sub(r"([\\`*_{}\[\]<>$~#|:])", r"\\\1", text)


def without_flags(text: str) -> str:
    """A text of both interfaces without the parts in parentheses that name a flag of train.py."""
    return re.sub(r" \([^()]*--[a-z][^()]*\)", "", text)


def plain(error: Exception) -> str:
    """First line of an error message, without folders of this computer or flags. Not escaped."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    for root in (folders.RUN_ROOT, folders.DATA_ROOT, folders.SHIPPED):
        text = text.replace(f"{root.resolve().parent}{os.sep}", "")
    text = without_flags(text)
    return re.sub(r"(?<![\w.])(?:[A-Za-z]:)?[\\/](?:[^\s\\/'\"]+[\\/])+", "", text)
