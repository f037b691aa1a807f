"""Declarations of a run's settings, the one source of command line, form, checks and links.

A setting is a field of a frozen dataclass, made by `setting`:

    epochs: int = setting(100, "--epochs", "Epochs", "passes over the training images", low=1, …)

Its type is its annotation: bool, int, float, str, one of these or None, or a tuple of ints. A
field that holds another such dataclass is a group; the dotted path "optim.lr" names the setting
`lr` of the group `optim`.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from engine import checks
from engine.errors import ConfigError


class Role(StrEnum):
    """The role of a setting in a comparison of runs."""

    FACTOR = "factor"  # affects the result; a comparison may vary it
    VALIDATION = "validation"  # selects the validation images: accuracies are not comparable
    SEED = "seed"  # runs that differ in the seed alone repeat one experiment
    PLACE = "place"  # location of files and computation; does not define the experiment


@dataclass(frozen=True)
class When:
    """The condition under which a setting is used: another setting has one of these values."""

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Setting:
    """Declaration of a setting. `path`, `kind`, `optional` and `default` come from the field."""

    path: str
    kind: type  # bool, int, float, str or tuple (of ints)
    optional: bool  # None is a value
    default: Any
    flag: str | None  # None: not set by the user
    aliases: tuple[str, ...]  # other spellings of the flag
    label: str  # in the form, in tables and in messages
    help: str  # one line, also for `train.py --help`
    usual: str  # usual values, or ""
    unit: str  # of the value, or ""
    none: str  # meaning of None, or ""
    low: float | None  # smallest value allowed
    high: float | None  # largest value allowed
    above: bool  # `low` itself is not allowed
    choices: Collection[str]  # values of a str, or () for free text
    titles: dict[str, str]  # choice: its title in the form, where that differs
    step: float | None  # increment of the form's - and + buttons
    when: When | None  # None: always used
    strict: bool  # a non-default value is refused if `when` does not hold
    role: Role
    movable: bool  # may change on resume, and is not part of a link

    @property
    def key(self) -> str:
        """The last part of the path; unique among the settings of a run."""
        return self.path.rpartition(".")[2]


def setting(
    default: Any,
    flag: str | None,
    label: str,
    help: str,
    *,
    usual: str = "",
    aliases: tuple[str, ...] = (),
    unit: str = "",
    none: str = "",
    low: float | None = None,
    high: float | None = None,
    above: bool = False,
    choices: Collection[str] = (),
    titles: dict[str, str] | None = None,
    step: float | None = None,
    when: When | None = None,
    strict: bool = False,
    role: Role = Role.FACTOR,
    movable: bool = False,
) -> Any:
    """A dataclass field that carries the declaration; see Setting for the arguments."""
    names = dict(locals(), titles=titles or {})
    return dataclasses.field(default=names.pop("default"), metadata={"setting": names})


@functools.cache
def settings_of(cls: type, prefix: str = "") -> dict[str, Setting]:
    """Settings of a dataclass and of its groups by dotted path, in the order of declaration."""
    found: dict[str, Setting] = {}
    hints = _hints(cls)
    for field in dataclasses.fields(cls):
        path, hint = f"{prefix}{field.name}", hints[field.name]
        if dataclasses.is_dataclass(hint):
            found |= settings_of(hint, f"{path}.")
            continue
        kind, optional = _kind(hint)
        declared = field.metadata["setting"]
        found[path] = Setting(
            path=path, kind=kind, optional=optional, default=field.default, **declared
        )
    return found


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _kind(hint: Any) -> tuple[type, bool]:
    """The type of a setting's values, and whether None is one."""
    if isinstance(hint, types.UnionType):
        (kind,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
        return _kind(kind)[0], True
    return typing.get_origin(hint) or hint, False


def check(values: Any, prefix: str = "") -> None:
    """Raise ConfigError, naming the field, for an invalid setting of a dataclass instance.

    Nested groups check themselves. prefix: start of the dotted paths, such as "optim.".
    """
    own = [s for s in settings_of(type(values), prefix).values() if s.path == prefix + s.key]
    for declared in own:
        check_value(declared, getattr(values, declared.key))
    for declared in own:
        if declared.strict and getattr(values, declared.key) != declared.default:
            _check_condition(declared, values)


def check_value(declared: Setting, value: Any) -> None:
    """Raise ConfigError unless `value` has the setting's type and is within its bounds."""
    if value is None and declared.optional:
        return
    path, low, high = declared.path, declared.low, declared.high
    if declared.kind is bool:
        checks.flag(path, value)
    elif declared.kind is int:
        checks.integer(path, value, low, high)
    elif declared.kind is float:
        checks.number(path, value, low, high, above=declared.above)
    elif declared.kind is tuple:
        checks.integers(path, value, low, high)
    elif declared.choices:
        checks.choice(path, value, declared.choices)
    else:
        checks.text(path, value, int(high or checks.MAX_TEXT))


def _check_condition(declared: Setting, values: Any) -> None:
    """Raise ConfigError for a strict setting whose condition, on its own group, does not hold."""
    now = getattr(values, declared.when.path.rpartition(".")[2])
    if now in declared.when.values:
        return
    if isinstance(now, bool):
        raise ConfigError(declared.path, f"needs {declared.when.path}, which is off")
    allowed = " or ".join(map(str, declared.when.values))
    raise ConfigError(declared.path, f"is for {allowed} only, not for {now}")


def get_field(values: Any, path: str) -> Any:
    """The value at a dotted path such as "optim.lr"."""
    return functools.reduce(getattr, path.split("."), values)


def is_used(values: Any, declared: Setting) -> bool:
    """Whether a setting has an effect in this config: its condition holds."""
    return declared.when is None or get_field(values, declared.when.path) in declared.when.values


def build(cls: type, values: Any, prefix: str = "") -> Any:
    """Build a dataclass of settings from a nested dict of plain types.

    Missing keys take their defaults. Raises ConfigError, naming the field, for unknown keys and
    invalid values.
    """
    if not isinstance(values, dict):
        raise ConfigError(prefix.rstrip(".") or "config", "must be a group of named settings")
    hints = _hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}
    arguments = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{prefix}{str(key)[:80]}", "unknown setting")
        if dataclasses.is_dataclass(hints[key]):
            arguments[key] = build(hints[key], value, f"{prefix}{key}.")
        else:
            arguments[key] = _from_json(_kind(hints[key])[0], value)
    return cls(**arguments)


def _from_json(kind: type, value: Any) -> Any:
    """Convert what JSON does not distinguish: lists to tuples, and whole numbers to floats."""
    if kind is tuple and isinstance(value, list):
        return tuple(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value) if abs(value) <= checks.HUGE else value  # too large: refused later
    return value


def changed(values: Any, defaults: Any) -> Iterator[tuple[Setting, Any]]:
    """Every setting that differs from the defaults, with its value."""
    for path, declared in settings_of(type(values)).items():
        if (value := get_field(values, path)) != get_field(defaults, path):
            yield declared, value


def number_text(value: float) -> str:
    """A number as people write it: 0.1, 0.001, 1e-5; three digits."""
    text = f"{value:.3g}"
    if "e" not in text:
        return text
    digits, exponent = text.split("e")
    return f"{value:.0f}" if int(exponent) > 0 else f"{digits}e{int(exponent)}"
