"""A study with its results as a zip, to pool the seeds of several computers."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

from engine import checks, files
from engine.errors import ConfigError, StudyError
from engine.studies import study as studies
from engine.studies.results import Outcome
from engine.studies.study import FILE, Study

OUTCOMES = "outcomes.json"
FOLDER = "imported"  # of a study: results from other computers, one file per import
MAX_BYTES = 4 * 2**20  # of a zip, and of each file in it; a real one has some kilobytes
MAX_OUTCOMES = 10_000


def pack(study: Study, outcomes: list[Outcome]) -> bytes:
    """A zip of the study and its results, without folders of this computer."""
    base = {path: value for path, value in study.base.items() if path != "data.root"}
    study = dataclasses.replace(study, base=base)
    rows = [dataclasses.asdict(outcome) for outcome in outcomes]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(FILE, study.to_json())
        archive.writestr(OUTCOMES, json.dumps(rows, ensure_ascii=False))
    return buffer.getvalue()


def unpack(content: bytes, root: Path) -> str:
    """Store a study from `pack` under `root`; returns its name there.

    Results for a study that is here already are added to it; another study of the same name stays
    as it is. Raises ConfigError or StudyError for a file that is no such zip.
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
            studies.create(dataclasses.replace(study, name=name), root)
    text = json.dumps([dataclasses.asdict(outcome) for outcome in outcomes], ensure_ascii=False)
    path = root / name / FOLDER / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        files.write_atomic(path, text)
    except OSError as error:
        raise StudyError(f"cannot write {path.name}: {files.reason(error)}") from error
    return name


def imported(study: Study, root: Path) -> list[Outcome]:
    """Results of a study's values from other computers; files that cannot be read are left out."""
    found: dict[tuple[str, int, str], Outcome] = {}
    for path in sorted((root / study.name / FOLDER).glob("*.json")):
        try:
            outcomes = _outcomes(json.loads(files.read_regular(path, MAX_BYTES)))
        except (OSError, ValueError, RecursionError):
            continue
        for outcome in outcomes:
            found.setdefault(key(outcome), outcome)
    names = {row.name for row in study.rows()}
    return [outcome for outcome in found.values() if outcome.value in names]


def pooled(own: list[Outcome], others: list[Outcome]) -> list[Outcome]:
    """Both, without repetitions: the same seed on the same kind of machine tells nothing new."""
    known = {key(outcome) for outcome in own}
    return [*own, *(outcome for outcome in others if key(outcome) not in known)]


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
        base = {path: value for path, value in each.base.items() if path != "data.root"}
        return each.question, each.factors, base, each.equal

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
    if not isinstance(row, dict) or set(row) != names:
        raise ConfigError("outcomes", f"each entry needs {', '.join(sorted(names))}")
    for name in ("value", "state"):
        checks.text(name, row[name])
    if row["block"]:
        checks.text("block", row["block"])
    checks.integer("seed", row["seed"], 0, 2**31 - 1)
    checks.integer("n_images", row["n_images"], 0, 10**9)
    for name in ("chance", "accuracy"):
        if row[name] is not None or name == "chance":
            checks.number(name, row[name], 0, 1)
    if not isinstance(row["confounds"], list):
        raise ConfigError("confounds", "must be a list of texts")
    for text in row["confounds"]:
        checks.text("confounds", text)
    return Outcome(
        **{**row, "block": str(row["block"] or ""), "confounds": tuple(row["confounds"])}
    )
