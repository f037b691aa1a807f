"""Value checks. Each raises a ConfigError that names the field and the allowed values."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from engine.errors import ConfigError

HUGE = 1e300  # a whole number in JSON may exceed the range of floats
MAX_TEXT = 4096  # characters
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,79}")
RESERVED = {"pretrained", "con", "prn", "aux", "nul"} | {
    f"{port}{digit}" for port in ("com", "lpt") for digit in range(1, 10)
}


def number(name: str, value: Any, low: float, high: float, *, above: bool = False) -> None:
    """Require a finite number in [low, high], or in (low, high] with `above`."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or abs(value) > HUGE or not math.isfinite(value):
        raise ConfigError(name, f"{value!r} is not a finite number")
    if value < low or value > high or (above and value == low):
        edge = "above" if above else "at least"
        raise ConfigError(name, f"{value} is out of range; use {edge} {low:g}, at most {high:g}")


def integer(name: str, value: Any, low: int, high: int) -> None:
    """Require an integer in [low, high]."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(name, f"{value!r} is not a whole number")
    if not low <= value <= high:
        raise ConfigError(name, f"{value} is out of range; use {low} to {high}")


def integers(name: str, values: Any, low: int, high: int) -> None:
    """Require a tuple of distinct integers in [low, high], in ascending order."""
    if not isinstance(values, tuple):
        raise ConfigError(name, f"{values!r} is not a list of whole numbers")
    for value in values:
        integer(name, value, low, high)
    if list(values) != sorted(set(values)):
        raise ConfigError(name, "give each value once, in ascending order")


def flag(name: str, value: Any) -> None:
    """Require a bool."""
    if not isinstance(value, bool):
        raise ConfigError(name, f"{value!r} is not true or false")


def choice(name: str, value: Any, known: Iterable[str]) -> None:
    """Require one of the known values."""
    known = tuple(known)
    if value not in known:
        raise ConfigError(name, f"unknown value {value!r}; known: {', '.join(known)}")


def text(name: str, value: Any, limit: int = MAX_TEXT) -> None:
    """Require a str of 1 to `limit` characters that is not blank and contains no NUL."""
    if not isinstance(value, str) or not value.strip() or "\0" in value or len(value) > limit:
        raise ConfigError(name, f"give a text of 1 to {limit} characters")


def check_name(name: str) -> None:
    """Raise ConfigError unless `name` can be a folder on every platform."""
    if not NAME.fullmatch(name) or name.endswith("."):
        usable = re.sub(r"[^A-Za-z0-9._+-]+", "-", name).strip("._+-")[:80]
        such = f", such as {usable!r}" if NAME.fullmatch(usable) else ""
        raise ConfigError(
            "name",
            f"{name[:90]!r}: names can use 1 to 80 letters a–z, digits and . _ + - (no "
            f"spaces){such}",
        )
    if name.split(".", maxsplit=1)[0].lower() in RESERVED:
        raise ConfigError("name", f"{name!r} is reserved; choose another")
