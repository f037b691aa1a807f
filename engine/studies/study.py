"""A study: a question, a base config, the factor that varies with its values, and seeds."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine import checks, files
from engine.config import MAX_JSON_BYTES, SETTINGS, RunConfig, with_fields
from engine.errors import ConfigError, StudyError
from engine.runs.folder import check_name
from engine.settings import Role

FILE = "study.json"
WAIT_S = 5.0  # for the lock, which is held briefly, except by a study trained from the terminal
MAX_ROWS, MAX_SEEDS, MAX_TEXT = 64, 100, 10_000
CROSS = " × "  # between the names of a grid's two values


@dataclass(frozen=True)
class Published:
    """Results of a published run: parameters in millions, accuracies in %."""

    parameters_m: float
    train_acc: float
    val_acc: float


@dataclass(frozen=True)
class Value:
    """One value of a factor: a name and the settings that it stands for, by dotted path."""

    name: str
    settings: dict[str, Any]
    published: Published | None = None


@dataclass(frozen=True)
class Factor:
    """What a study varies, such as "Norm", and the values it takes."""

    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Study:
    """A study, as study.json holds it. Raises ConfigError, naming the field, if it cannot run.

    base: settings of all runs by dotted path, where they differ from the defaults. seeds: the
    planned ones; added_seeds: those added after results were seen. seconds: the time given, or
    None for the full recipe. equal: what all values get the same of. margin: accuracies within
    this many points count as the same.
    """

    name: str
    question: str
    factors: tuple[Factor, ...]  # one, or two for a grid
    base: dict[str, Any] = field(default_factory=dict)
    baseline: str | None = None  # name of a row; None: contrasts alone
    contrasts: tuple[tuple[str, str], ...] = ()  # (row, the row that it is compared with)
    seeds: tuple[int, ...] = (0, 1, 2)
    added_seeds: tuple[int, ...] = ()
    seconds: float | None = None
    race: bool = True  # runs take turns; False: one after another
    equal: str = "epochs"  # or "time"
    margin: float | None = None
    fair_rates: bool = False  # each value at its own best learning rate
    footnotes: tuple[str, ...] = ()

    def __post_init__(self):
        check_name(self.name)
        checks.text("question", self.question, MAX_TEXT)
        checks.choice("equal", self.equal, ("epochs", "time"))
        if not 1 <= len(self.factors) <= 2:
            raise ConfigError("factors", "give one factor, or two for a grid")
        names = [row.name for row in self.rows()]
        if not 2 <= len(names) <= MAX_ROWS:
            raise ConfigError("factors", f"give 2 to {MAX_ROWS} values, not {len(names)}")
        if len(set(names)) < len(names):
            raise ConfigError("factors", "give each value a name of its own")
        for name in ({self.baseline} - {None}) | set(itertools.chain(*self.contrasts)):
            checks.choice("baseline or contrasts", name, names)
        seeds = self.all_seeds()
        if not 1 <= len(seeds) <= MAX_SEEDS or len(set(seeds)) < len(seeds):
            raise ConfigError("seeds", f"give 1 to {MAX_SEEDS} different seeds")
        if self.seconds is not None:
            checks.number("seconds", self.seconds, 1, 1e8)
        if self.margin is not None:
            checks.number("margin", self.margin, 0, 100, above=True)
        if self.fair_rates and len(self.factors) > 1:
            raise ConfigError("fair_rates", "need a study with one factor")
        if self.fair_rates and self.config(self.rows()[0], seeds[0]).data.holdout:
            raise ConfigError("fair_rates", "need the test images for the verdict: hold none out")
        for row in self.rows():
            self._check_row(row)

    def _check_row(self, row: Value) -> None:
        checks.text("value", row.name, 80)
        for path in row.settings:
            if path not in SETTINGS:
                raise ConfigError(path, "unknown setting")
            if SETTINGS[path].role is not Role.FACTOR:
                raise ConfigError(path, "cannot be varied by a study")
        self.config(row, self.seeds[0])

    def rows(self) -> list[Value]:
        """The values, or for a grid every combination of the two factors' values."""
        if len(self.factors) == 1:
            return list(self.factors[0].values)
        first, second = self.factors
        return [
            Value(f"{a.name}{CROSS}{b.name}", {**a.settings, **b.settings})
            for a in first.values
            for b in second.values
        ]

    def row(self, name: str) -> Value:
        return next(row for row in self.rows() if row.name == name)

    def all_seeds(self) -> tuple[int, ...]:
        return (*self.seeds, *self.added_seeds)

    def config(self, row: Value, seed: int) -> RunConfig:
        """Config of one run. Raises ConfigError."""
        return with_fields(RunConfig(), {**self.base, **row.settings, "seed": seed})

    def run_name(self, row: Value, seed: int) -> str:
        """Name of the run of a row and a seed; a number keeps rows of like names apart."""
        index = [each.name for each in self.rows()].index(row.name)
        slug = re.sub(r"[^A-Za-z0-9._+-]+", "-", row.name).strip("-.")[:30]
        return f"{self.name[:40]}-{index + 1}-{slug or 'value'}-s{seed}"

    def runs(self) -> list[tuple[str, Value, int]]:
        """Every run as (name, row, seed): the first seed of all rows, then the second."""
        return [
            (self.run_name(row, seed), row, seed)
            for seed in self.all_seeds()
            for row in self.rows()
        ]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Study:
        """Inverse of to_json. Raises ConfigError for any other text."""
        if len(text) > MAX_JSON_BYTES:
            raise ConfigError("study", f"is larger than {MAX_JSON_BYTES} bytes")
        try:
            return _build(json.loads(text))
        except (ValueError, RecursionError) as error:
            if isinstance(error, ConfigError):
                raise
            raise ConfigError("study", f"is not readable JSON ({type(error).__name__})") from error


def _build(values: Any) -> Study:
    _check_keys(Study, values, "study")
    factors = values.get("factors")
    if not isinstance(factors, list):
        raise ConfigError("factors", "must be a list")
    kinds = {
        "contrasts": lambda pairs: tuple(_pair(pair) for pair in _list("contrasts", pairs)),
        "seeds": lambda seeds: _seeds("seeds", seeds),
        "added_seeds": lambda seeds: _seeds("added_seeds", seeds),
        "footnotes": lambda notes: tuple(_text("footnotes", n) for n in _list("footnotes", notes)),
        "factors": lambda found: tuple(_factor(each) for each in found),
        "base": lambda base: _settings("base", base),
        "name": lambda name: _text("name", name),
        "baseline": lambda name: None if name is None else _text("baseline", name),
    }
    for key in ("race", "fair_rates"):
        if key in values:
            checks.flag(key, values[key])
    return Study(**{key: kinds.get(key, lambda x: x)(value) for key, value in values.items()})


def _factor(values: Any) -> Factor:
    _check_keys(Factor, values, "factors")
    rows = []
    for row in _list("factors", values.get("values")):
        _check_keys(Value, row, "values")
        found = row.get("published")
        if found is not None:
            _check_keys(Published, found, "published")
            for key, number in found.items():
                checks.number(f"published.{key}", number, 0, 1e6)
        rows.append(
            Value(
                _text("values", row.get("name")),
                _settings("values", row.get("settings")),
                Published(**found) if found else None,
            )
        )
    return Factor(_text("factors", values.get("name")), tuple(rows))


def _check_keys(cls: type, values: Any, name: str) -> None:
    """Raise ConfigError unless `values` is a dict with a dataclass's fields."""
    if not isinstance(values, dict):
        raise ConfigError(name, "must be a group of named entries")
    fields = dataclasses.fields(cls)
    for key in values:
        if key not in {known.name for known in fields}:
            raise ConfigError(f"{name}.{str(key)[:80]}", "unknown entry")
    for known in fields:
        default = (known.default, known.default_factory)
        if known.name not in values and default == (dataclasses.MISSING,) * 2:
            raise ConfigError(f"{name}.{known.name}", "is missing")


def _list(name: str, values: Any) -> list:
    if not isinstance(values, list) or len(values) > MAX_ROWS:
        raise ConfigError(name, f"must be a list of at most {MAX_ROWS} entries")
    return values


def _text(name: str, value: Any) -> str:
    checks.text(name, value, MAX_TEXT)
    return value


def _pair(values: Any) -> tuple[str, str]:
    if not isinstance(values, list) or len(values) != 2:
        raise ConfigError("contrasts", "must be pairs of names")
    return _text("contrasts", values[0]), _text("contrasts", values[1])


def _seeds(name: str, values: Any) -> tuple[int, ...]:
    if not isinstance(values, list) or len(values) > MAX_SEEDS:
        raise ConfigError(name, f"must be a list of at most {MAX_SEEDS} seeds")
    for value in values:
        checks.integer(name, value, 0, 2**31 - 1)
    return tuple(values)


def _settings(name: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(name, "must be settings by dotted path, such as optim.lr")
    for path in values:
        if path not in SETTINGS:
            raise ConfigError(f"{name}.{str(path)[:80]}", "unknown setting")
    return values


def create(study: Study, root: Path) -> None:
    """Write a new study, or leave the same one as it is.

    Raises StudyError, also if another study has its name. Call it within `hold`.
    """
    if (root / study.name / FILE).exists():
        with contextlib.suppress(ConfigError, StudyError):  # a damaged one is not replaced either
            if load(root, study.name).to_json() == study.to_json():
                return
        raise StudyError(f"study {study.name!r} already exists; choose another name")
    save(study, root)


def change(root: Path, name: str, edit: Callable[[Study], Study]) -> Study:
    """Replace a stored study by `edit` of it; the new one.

    Under the lock, and from the file: another tab or process may have changed the study since it
    was displayed. Raises ConfigError or StudyError.
    """
    with hold(root, name, WAIT_S):
        before = load(root, name)
        after = edit(before)
        if after != before:
            save(after, root)
        return after


def save(study: Study, root: Path) -> None:
    """Write `root/name/study.json` atomically. Raises StudyError."""
    try:
        (root / study.name).mkdir(parents=True, exist_ok=True)
        files.write_atomic(root / study.name / FILE, study.to_json())
    except OSError as error:
        raise StudyError(
            f"cannot write study {study.name!r} in {root}: {files.reason(error)}"
        ) from error


def load(root: Path, name: str) -> Study:
    """The study `name` under `root`. Raises ConfigError, or StudyError if it cannot be read."""
    check_name(name)
    return read(root / name / FILE)


def read(path: Path) -> Study:
    """The study in a JSON file. Raises ConfigError, or StudyError if it cannot be read."""
    try:
        text = files.read_regular(path, MAX_JSON_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        why = files.reason(error) if isinstance(error, OSError) else "not UTF-8"
        raise StudyError(f"cannot read the study {path}: {why}") from error
    return Study.from_json(text)


def list_studies(root: Path) -> list[str]:
    """Names of the studies under `root`, newest first, also of damaged ones."""
    try:
        found = [path for path in root.iterdir() if (path / FILE).is_file()]
        return [path.name for path in sorted(found, key=lambda path: -path.stat().st_mtime)]
    except OSError:
        return []


@contextlib.contextmanager
def hold(root: Path, name: str, wait_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of the study's one writer; the thread that holds it may do so again.

    Raises StudyError if another process or thread still holds it after `wait_s` seconds.
    """
    try:
        (root / name).mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / name / "study.lock", is_singleton=True)
        lock.acquire(timeout=wait_s)
    except Timeout as error:
        raise StudyError(f"study {name!r} is in progress in another process or tab") from error
    except OSError as error:
        raise StudyError(f"cannot open study {name!r}: {files.reason(error)}") from error
    try:
        yield
    finally:
        lock.release()
