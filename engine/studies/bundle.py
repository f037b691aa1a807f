"""A study with its results as a zip, to pool the seeds of several computers."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
import zlib
from pathlib import Path, PureWindowsPath
from typing import Any

from engine import checks, files
from engine.data import DATASETS, own
from engine.errors import ConfigError, StudyError
from engine.studies import run
from engine.studies import study as studies
from engine.studies.results import ENDED, Outcome
from engine.studies.study import FILE, Study

OUTCOMES = "outcomes.json"
FOLDER = "imported"  # of a study: results from other computers, one file per import
MAX_BYTES = 4 * 2**20  # of a zip, and of each file in it; a real one has some kilobytes
MAX_OUTCOMES = 10_000


def pack(study: Study, outcomes: list[Outcome]) -> bytes:
    """A zip of the study and its results, without folders of this computer.

    Only ended runs: an interim state here would stand beside the result in a later zip.
    """
    study = dataclasses.replace(study, base=portable(study.base))
    rows = [dataclasses.asdict(outcome) for outcome in outcomes if outcome.state in ENDED]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(FILE, study.to_json())
        archive.writestr(OUTCOMES, json.dumps(rows, ensure_ascii=False))
    return buffer.getvalue()


def portable(base: dict[str, Any]) -> dict[str, Any]:
    """Settings of a study without folders of this computer: the user's own images by name."""
    kept = {path: value for path, value in base.items() if path != "data.root"}
    if "data.dataset" in kept:
        kept["data.dataset"] = PureWindowsPath(kept["data.dataset"]).name  # splits at / and \
    return kept


def _located(base: dict[str, Any], data_root: Path) -> dict[str, Any]:
    """The settings of an imported study, with the data folder of this computer."""
    kept = portable(base)
    own_set = data_root / own.FOLDER / kept.get("data.dataset", "")
    if kept.get("data.dataset", "") not in ("", *DATASETS) and own_set.is_dir():
        kept["data.dataset"] = str(own_set)
    return {**kept, "data.root": str(data_root)}


def unpack(content: bytes, root: Path, data_root: Path) -> str:
    """Store a study from `pack` under `root`; returns its name there.

    Results for a study that is here already are added to it; another study of the same name stays
    as it is. data_root: folder of the data sets that the study is to use here. Raises ConfigError
    or StudyError for a file that is no such zip.
    """
    study, outcomes = _read(content)
    name = study.name
    taken = {each.lower() for each in studies.list_studies(root)}
    for number in range(2, len(taken) + 3):
        if name.lower() not in taken or _same(root, name, study):
            break
        name = f"{study.name[:36]}-{number}"
    if name.lower() not in taken:
        with studies.hold(root, name, studies.WAIT_S):
            base = _located(study.base, data_root)
            studies.create(dataclasses.replace(study, name=name, base=base), root)
    text = json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], ensure_ascii=False)
    path = root / name / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        files.write_atomic(path, text)
    except OSError as error:
        raise StudyError(f"cannot write {path.name}: {files.reason(error)}") from error
    return name


def sweep(root: Path) -> None:
    """Remove leftovers of killed processes in the studies under `root`."""
    for folder in root.glob("*/"):
        files.sweep(folder)
        files.sweep(folder / FOLDER)


def imported(study: Study, root: Path) -> list[Outcome]:
    """Results of a study's values from other computers; files that cannot be read are left out."""
    found: list[Outcome] = []
    for path in sorted((root / study.name / FOLDER).glob("*.json")):
        try:
            found += _outcomes(json.loads(files.read_regular(path, MAX_BYTES)))
        except (OSError, ValueError, RecursionError):
            continue
    names = {row.name for row in study.rows()}
    # Of a run that had not ended, another zip has the result.
    return [outcome for outcome in found if outcome.value in names and outcome.state in ENDED]


def outcomes(study: Study, study_root: Path, run_root: Path) -> list[Outcome]:
    """The results of the runs here and of those that were imported. Raises DataError."""
    return pooled(study, run.outcomes(study, run_root), imported(study, study_root))


def pooled(study: Study, here: list[Outcome], others: list[Outcome]) -> list[Outcome]:
    """Both, without repetitions: the same seed on the same kind of machine tells nothing new.

    A finished run replaces one that is not. Results on other images than the first are marked.
    """
    found: dict[tuple[str, int, str], Outcome] = {}
    for outcome in (*here, *others):
        known = found.get(key(outcome))
        if known is None or (outcome.finished and not known.finished):
            found[key(outcome)] = outcome
    first: dict[str, str] = {}  # data, by how images are made square
    return [_checked(study, outcome, first) for outcome in found.values()]


def _checked(study: Study, outcome: Outcome, first: dict[str, str]) -> Outcome:
    """The outcome, marked if its data are not those of the `first`, which is kept there."""
    if not outcome.data or run.OTHER_DATA in outcome.confounds:
        return outcome
    fit = study.config(study.row(outcome.value), study.seeds[0]).data.fit
    if first.setdefault(fit, outcome.data) == outcome.data:
        return outcome
    return dataclasses.replace(outcome, confounds=(*outcome.confounds, run.OTHER_DATA))


def key(outcome: Outcome) -> tuple[str, int, str]:
    """What tells two results apart: value, seed, machine."""
    return outcome.value, outcome.seed, outcome.block


def _same(root: Path, name: str, study: Study) -> bool:
    """Whether the study `name` here asks the same as `study`, be it with other seeds."""
    try:
        here = studies.load(root, name)
    except (ConfigError, StudyError):
        return False

    def identity(each: Study) -> tuple[Any, ...]:
        return each.question, each.factors, portable(each.base), each.equal

    return identity(here) == identity(study)


def _read(content: bytes) -> tuple[Study, list[Outcome]]:
    if len(content) > MAX_BYTES:
        raise StudyError(f"this zip is larger than {MAX_BYTES // 2**20} MB")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            texts = [_entry(archive, name) for name in (FILE, OUTCOMES)]
        return Study.from_json(texts[0]), _outcomes(json.loads(texts[1]))
    except ConfigError:
        raise
    except (KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise StudyError(
            f"this is not the zip of a study, or it is damaged ({error}); download it again"
        ) from error
    except (ValueError, RecursionError, EOFError) as error:
        raise StudyError(f"{OUTCOMES} in this zip cannot be read") from error


def _entry(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as file:
        content = file.read(MAX_BYTES + 1)  # not the size in the header, which may be wrong
    if len(content) > MAX_BYTES:
        raise StudyError(f"{name} in this zip is larger than {MAX_BYTES // 2**20} MB")
    return content.decode()


def _outcomes(rows: Any) -> list[Outcome]:
    if not isinstance(rows, list) or len(rows) > MAX_OUTCOMES:
        raise ConfigError("outcomes", f"must be a list of at most {MAX_OUTCOMES} entries")
    return [_outcome(row) for row in rows]


def _outcome(row: Any) -> Outcome:
    names = {known.name for known in dataclasses.fields(Outcome)}
    if not isinstance(row, dict) or {*row, "data"} != names:  # no data: from an older version
        raise ConfigError("outcomes", f"each entry needs {', '.join(sorted(names))}")
    for name in ("value", "state"):
        checks.text(name, row[name])
    for name in ("block", "data"):
        if row.get(name):
            checks.text(name, row[name])
    checks.integer("seed", row["seed"], 0, 2**31 - 1)
    checks.integer("n_images", row["n_images"], 0, 10**9)
    for name in ("chance", "accuracy"):
        if row[name] is not None or name == "chance":
            checks.number(name, row[name], 0, 1)
    if not isinstance(row["confounds"], list):
        raise ConfigError("confounds", "must be a list of texts")
    for text in row["confounds"]:
        checks.text("confounds", text)
    texts = {name: str(row.get(name) or "") for name in ("block", "data")}
    return Outcome(**{**row, **texts, "confounds": tuple(row["confounds"])})
