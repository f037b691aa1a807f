"""Value checks. Each raises a ConfigError that names the field and the allowed values."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from engine.errors import ConfigError

HUGE = 1e300  # a whole number in JSON may exceed the range of floats
MAX_TEXT = 4096  # characters


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
