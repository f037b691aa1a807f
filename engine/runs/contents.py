"""Files of a run's folder as they are read: bounded, checked, and whatever happened to them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from engine import files
from engine.config import RunConfig
from engine.errors import ConfigError, RunError
from engine.files import open_regular, read_regular
from engine.runs import metrics
from engine.runs.metrics import Records
from engine.runs.status import State, Status

SCHEMA = 1
EXTRAS = ("schema", "dataset_info")  # of config.json, beside the config
MAX_BYTES = 2**20  # of config, status, request, holder, title and note
TITLE_CHARS = 80
LOG_BYTES = 100_000  # of the end of a log, which is all that is shown
# A folder with one of these is a run, whatever has happened to the others.
MARKS = ("config.json", "status.json", "metrics.jsonl", "resume")
EPOCH_MARK = json.dumps({"kind": "epoch"})[1:-1].encode()  # as RunWriter.append writes it


def exists(folder: Path) -> bool:
    """Whether there is a run in `folder`, be it damaged, or a folder that cannot be looked into."""
    for name in MARKS:
        try:
            (folder / name).lstat()
        except PermissionError:
            return True
        except OSError:
            continue
        return True
    return False


def read_json(folder: Path, name: str) -> dict[str, Any]:
    """The object in a small JSON file. Raises RunError if there is none."""
    try:
        values = json.loads(read_regular(folder / name, MAX_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        if not exists(folder):
            raise absent(folder) from None
        raise RunError(f"run {folder.name!r}: {name} is missing") from None
    except OSError as error:
        why = files.reason(error)
        raise RunError(f"run {folder.name!r}: {name} cannot be read ({why})") from None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise damaged(folder, name)
    return values


def absent(folder: Path) -> RunError:
    return RunError(f"there is no run {folder.name!r} in {folder.parent}")


def damaged(folder: Path, name: str, where: str = "") -> RunError:
    return RunError(f"run {folder.name!r}: {name} is damaged{where}")


def _read_config_file(folder: Path) -> dict[str, Any]:
    values = read_json(folder, "config.json")
    if values.get("schema", SCHEMA) != SCHEMA:
        raise RunError(f"run {folder.name!r} was made by a newer version; update this one")
    return values


def read_config(folder: Path) -> RunConfig:
    """Raises RunError or ConfigError."""
    values = _read_config_file(folder)
    return RunConfig.from_dict({key: v for key, v in values.items() if key not in EXTRAS})


def read_dataset_info(folder: Path) -> dict[str, Any] | None:
    """See Run.dataset_info. Raises RunError."""
    info = _read_config_file(folder).get("dataset_info")
    if info is not None and not _is_dataset_info(info):
        raise damaged(folder, "config.json", " (dataset_info)")
    return info


def _is_dataset_info(info: Any) -> bool:
    if not isinstance(info, dict) or not isinstance(info.get("name"), str):
        return False
    if not isinstance(info.get("lineage", []), list) or not _is_fingerprint(
        info.get("fingerprint", {})
    ):
        return False
    classes, *channels = (info.get(key) for key in ("classes", "mean", "std"))
    named = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    return named and all(
        isinstance(values, list) and [type(v) in (int, float) for v in values] == [True] * 3
        for values in channels
    )


def _is_fingerprint(value: Any) -> bool:
    """Whether it is the fingerprint of a data set; {} is that of an older run, which has none."""
    if value == {}:
        return True
    kinds = {"count": int, "images": str, "labels": str}
    splits = (
        [value.get(split) for split in ("train", "test")] if isinstance(value, dict) else [None]
    )
    return all(
        isinstance(split, dict) and all(type(split.get(key)) is kind for key, kind in kinds.items())
        for split in splits
    )


def read_status(folder: Path) -> Status:
    """The stored status. Raises RunError."""
    try:
        return Status.from_dict(read_json(folder, "status.json"))
    except (KeyError, ValueError) as error:
        if isinstance(error, RunError):
            raise
        raise damaged(folder, "status.json") from error


def recover_status(folder: Path, state: State, message: str = "") -> Status:
    """Status of a run whose status.json is damaged, recovered from its other files."""
    status = Status(state=state, message=message)
    with contextlib.suppress(OSError):
        created = max(0.0, (folder / "config.json").stat().st_mtime)
        status = dataclasses.replace(status, created=created)
    with contextlib.suppress(RunError, ConfigError):
        config = read_config(folder)
        test = config.data.holdout == 0
        seen = None if config.pretrained and not test else 0  # the number is lost
        status = dataclasses.replace(status, epochs=config.epochs, val_is_test=test, val_seen=seen)
    if epochs := read_epochs(folder):
        best = max(epochs, key=lambda record: record["val_acc"])
        status = dataclasses.replace(
            status,
            epoch=epochs[-1]["epoch"],
            final_acc=epochs[-1]["val_acc"],
            best_acc=best["val_acc"],
            best_epoch=best["epoch"],
        )
    return status


def read_records(folder: Path, offset: int) -> tuple[Records, int]:
    """See Run.records."""
    try:
        with open_regular(folder / "metrics.jsonl") as file:
            if offset > os.fstat(file.fileno()).st_size:
                offset = 0
            file.seek(offset)
            content = file.read(metrics.MAX_BYTES)
    except OSError:
        return [], 0
    whole = content[: content.rfind(b"\n") + 1]
    return metrics.parse(whole.splitlines())[0], offset + len(whole)


def read_epochs(folder: Path) -> Records:
    """See Run.epochs."""
    try:
        with open_regular(folder / "metrics.jsonl") as file:
            lines = file.read(metrics.MAX_BYTES).splitlines()
    except OSError:
        return []
    return metrics.parse([line for line in lines if EPOCH_MARK in line])[0]


def read_log(folder: Path) -> str:
    """The last LOG_BYTES of train.log; empty if it cannot be read."""
    try:
        with open_regular(folder / "train.log") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_BYTES))
            return file.read(LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def read_note(folder: Path) -> str:
    """The user's note, whatever its encoding; empty if there is none."""
    try:
        return read_regular(folder / "note.txt", MAX_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def read_title(folder: Path) -> str:
    """The user's title; empty if there is none, or if it is not UTF-8 text."""
    try:
        return one_line(read_regular(folder / "title.txt", MAX_BYTES).decode())
    except (OSError, UnicodeDecodeError):
        return ""


def one_line(text: str) -> str:
    """A title as it is kept: at most TITLE_CHARS printable characters, single spaces."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return " ".join(words)[:TITLE_CHARS].rstrip()


def problems(folder: Path) -> list[str]:
    """Sentences about files, other than status.json, that are damaged or missing."""
    found = []
    try:
        read_config(folder)
        read_dataset_info(folder)
    except (RunError, ConfigError) as error:
        found.append(f"{error}. Restore the file from a copy, or delete the run.")
    try:
        with open_regular(folder / "metrics.jsonl") as file:
            content = file.read(metrics.MAX_BYTES + 1)
        lost = metrics.parse(content[: content.rfind(b"\n") + 1].splitlines())[1]
        if lost:
            found.append(f"metrics.jsonl: {lost} damaged lines are left out of the curves.")
        if len(content) > metrics.MAX_BYTES:
            found.append(f"metrics.jsonl: only {metrics.MAX_BYTES >> 20} MB are read.")
    except FileNotFoundError:
        if (folder / "last.safetensors").exists():
            found.append("metrics.jsonl is missing: the curves of this run are lost.")
    except OSError as error:
        found.append(f"metrics.jsonl cannot be read ({files.reason(error)}).")
    for name in ("note.txt", "title.txt", "train.log", "last.safetensors", "best.safetensors"):
        try:
            with open_regular(folder / name) as file:
                words = name in ("note.txt", "title.txt")
                if words and os.fstat(file.fileno()).st_size > MAX_BYTES:
                    found.append(f"{name} is larger than {MAX_BYTES >> 20} MB and is not shown.")
                elif name == "title.txt":
                    file.read(MAX_BYTES).decode()
        except FileNotFoundError:
            continue
        except OSError as error:
            found.append(f"{name} cannot be read ({files.reason(error)}).")
        except UnicodeDecodeError:
            found.append(f"{name} is not UTF-8 text and is not shown.")
    return found
