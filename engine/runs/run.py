"""A run's folder: configuration, status, records and the lock of its only writer.

Everything known of a run is in its files; the app, the command line and other processes read them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine.config import RunConfig
from engine.errors import RunError
from engine.files import write_atomic

SCHEMA = 1
LOCK_WAIT_S = 2.0  # seconds; `is_alive` of another process holds the lock for microseconds


class State(StrEnum):
    """State of a run."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


RESUMABLE = (State.PAUSED, State.STOPPED, State.FAILED, State.INTERRUPTED)


@dataclass(frozen=True)
class Status:
    """Contents of status.json. Accuracies are from 0 to 1; times are seconds or Unix time."""

    state: State = State.QUEUED
    phase: str = ""  # shown to the user: "training", "reading shapes" …
    message: str = ""  # reason of a failure, one line
    created: float = 0.0
    queued: float = 0.0  # time of the last submission; orders the queue
    updated: float = 0.0
    step: int = 0
    steps: int = 0
    epoch: int = 0  # current epoch, from 1
    epochs: int = 0
    images_per_s: float = 0.0
    batch_seconds: float = 0.0
    eta_seconds: float | None = None
    eta_settled: bool = True  # False: a first guess
    seconds: float = 0.0  # training time of all sessions
    final_acc: float | None = None  # validation accuracy after the last finished epoch
    tta_acc: float | None = None  # final_acc with test-time augmentation, if asked for
    best_acc: float | None = None
    best_epoch: int | None = None
    val_is_test: bool = True  # best_acc was then selected on test data
    parameters: int | None = None
    compute: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Status:
        known = {f.name for f in dataclasses.fields(cls)}
        kept = {key: value for key, value in values.items() if key in known}
        return cls(**{**kept, "state": State(kept["state"])})


class Run:
    """Read access to a run's folder. A RunWriter, obtained from `hold`, writes to it."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.name = self.path.name

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def config(self) -> RunConfig:
        values = self._config_file()
        return RunConfig.from_dict({k: v for k, v in values.items() if k not in CONFIG_EXTRAS})

    def dataset_info(self) -> dict[str, Any] | None:
        """{"name", "classes", "mean", "std"} of the data set; None before it was loaded."""
        return self._config_file().get("dataset_info")

    def status(self) -> Status:
        """Status; a run that is "running" but whose lock is free is interrupted."""
        status = self._status_file()
        if status.state is State.RUNNING and not self.is_alive():
            status = self._status_file()  # it may have ended in between
            if status.state is State.RUNNING:
                return dataclasses.replace(status, state=State.INTERRUPTED)
        return status

    def is_alive(self) -> bool:
        """Whether a process holds the run's lock."""
        try:
            with self._lock(timeout=0):
                return False
        except Timeout:
            return True
        except OSError:  # deleted, or not writable: no process trains in it
            return False

    def records(self, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
        """Records from byte `offset` on, and the offset of the next call.

        An incomplete last line is left for the next call. An offset past the end (a resume trims
        the file) reads from the beginning.
        """
        path = self.path / "metrics.jsonl"
        try:
            with path.open("rb") as file:
                if offset > os.fstat(file.fileno()).st_size:
                    offset = 0
                file.seek(offset)
                content = file.read()
        except FileNotFoundError:
            return [], 0
        whole = content[: content.rfind(b"\n") + 1]
        return _parse_lines(whole.splitlines()), offset + len(whole)

    def epochs(self) -> list[dict[str, Any]]:
        """Epoch records only; much faster than `records`, since step records are not parsed."""
        try:
            lines = (self.path / "metrics.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        mark = json.dumps({"kind": "epoch"})[1:-1].encode()  # as written by RunWriter.append
        return _parse_lines([line for line in lines if mark in line])

    def log(self) -> str:
        try:
            return (self.path / "train.log").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def request(self, command: str) -> None:
        """Request that the writer, in any process, pauses or stops: "pause" or "stop"."""
        if command not in ("pause", "stop"):
            raise ValueError(f"unknown command {command!r}")
        write_atomic(self.path / "control.json", json.dumps({"command": command}), durable=False)

    def note(self) -> str:
        """The user's note; empty if there is none."""
        try:
            return (self.path / "note.txt").read_text(encoding="utf-8")
        except OSError:
            return ""

    def set_note(self, text: str) -> None:
        write_atomic(self.path / "note.txt", text[:10_000], durable=False)

    def requested(self) -> str | None:
        """The pending request, "pause" or "stop", or None."""
        try:
            command = json.loads((self.path / "control.json").read_text())["command"]
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ):  # Windows: while it is replaced
            return None
        return command if command in ("pause", "stop") else None

    def holder(self) -> str:
        """Description of the lock's holder, such as "train.py, process 12 on host"."""
        try:
            held = json.loads((self.path / "holder.json").read_text())
            return f"{held['role']}, process {held['pid']} on {held['host']}"
        except (OSError, ValueError, KeyError, TypeError):
            return "another process"

    @contextlib.contextmanager
    def hold(self, role: str) -> Iterator[RunWriter]:
        """Acquire the lock and yield the writer. Raises RunError if it is held."""
        try:
            lock = self._lock(timeout=LOCK_WAIT_S)
            lock.acquire()
        except Timeout:
            raise RunError(f"run {self.name!r} is in use by {self.holder()}") from None
        except FileNotFoundError:
            raise self._absent() from None
        except OSError as error:
            raise RunError(f"run {self.name!r} cannot be locked: {error.strerror}") from error
        try:
            holder = {"role": role, "pid": os.getpid(), "host": socket.gethostname()}
            write_atomic(self.path / "holder.json", json.dumps(holder), durable=False)
            yield RunWriter(self)
        finally:
            lock.release()

    def _lock(self, timeout: float) -> FileLock:
        if not self.path.is_dir():  # filelock would create the folder of a deleted run
            raise FileNotFoundError(self.path)
        # Not thread-local: other threads of this process must see that the lock is held.
        return FileLock(self.path / "run.lock", timeout=timeout, thread_local=False)

    def _config_file(self) -> dict[str, Any]:
        values = self._read_json("config.json")
        if values.get("schema", SCHEMA) != SCHEMA:
            raise RunError(f"run {self.name!r} was made by a newer version; update this one")
        return values

    def _status_file(self) -> Status:
        try:
            return Status.from_dict(self._read_json("status.json"))
        except (KeyError, ValueError, TypeError) as error:
            if isinstance(error, RunError):
                raise
            raise RunError(f"run {self.name!r}: status.json is damaged") from error

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            values = json.loads((self.path / name).read_text())
        except OSError:
            raise self._absent() from None
        except (ValueError, RecursionError):
            raise RunError(f"run {self.name!r}: {name} is damaged") from None
        if not isinstance(values, dict):
            raise RunError(f"run {self.name!r}: {name} is damaged")
        return values

    def _absent(self) -> RunError:
        return RunError(f"there is no run {self.name!r} in {self.path.parent}")


CONFIG_EXTRAS = ("schema", "dataset_info")


class RunWriter:
    """Write access to a run, valid while its lock is held."""

    def __init__(self, run: Run):
        self.run = run
        try:
            self._status = run._status_file()
        except RunError:
            # Progress is not synced to disk, so a power cut may lose it; checkpoints have the rest.
            run._config_file()
            self._status = Status(state=State.INTERRUPTED)

    @property
    def status(self) -> Status:
        return self._status

    def update(self, *, durable: bool = False, **changes: Any) -> None:
        """Replace fields of the status. A change of state is synced to disk; progress is not."""
        if "state" in changes and changes["state"] is not self._status.state:
            durable = True
        self._status = dataclasses.replace(self._status, updated=time.time(), **changes)
        content = json.dumps(dataclasses.asdict(self._status))
        write_atomic(self.run.path / "status.json", content, durable=durable)

    def begin(self, allowed: tuple[State, ...]) -> None:
        """Change to running from one of the `allowed` states; discard requests of earlier sessions.

        Raises RunError for any other state.
        """
        state = self._status.state
        if state is State.RUNNING:  # the lock is ours: the process that ran it has died
            state = State.INTERRUPTED
        if state not in allowed:
            raise RunError(f"run {self.run.name!r} is {state} and cannot be started")
        (self.run.path / "control.json").unlink(missing_ok=True)
        self.update(state=State.RUNNING, phase="starting", message="")

    def save_config(self, config: RunConfig, dataset_info: dict[str, Any]) -> None:
        """Write config.json: the resolved config, and the data set's classes, mean and std."""
        write_atomic(self.run.path / "config.json", config_json(config, dataset_info))

    def append(self, records: list[dict[str, Any]], *, durable: bool = False) -> None:
        """Append records; `durable` syncs them, and all before them, to disk."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        with (self.run.path / "metrics.jsonl").open("ab") as file:
            file.write(lines.encode())
            if durable:
                file.flush()
                os.fsync(file.fileno())

    def trim(self, step: int, epochs_done: int) -> None:
        """Drop records after the checkpoint of a resume, and an incomplete last line."""
        limits = {"step": ("step", step), "epoch": ("epoch", epochs_done)}
        kept = []
        for record in self.run.records()[0]:
            key, limit = limits[record["kind"]]
            if record[key] <= limit:
                kept.append(json.dumps(record) + "\n")
        write_atomic(self.run.path / "metrics.jsonl", "".join(kept))

    def log(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        path = self.run.path / "train.log"
        with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{stamp} {text.rstrip()}\n")


def config_json(config: RunConfig, dataset_info: dict[str, Any] | None) -> str:
    """Contents of config.json. dataset_info: None before the data was loaded."""
    extras = {"schema": SCHEMA, "dataset_info": dataset_info}
    return json.dumps({**extras, **config.to_dict()}, indent=2)


def _parse_lines(lines: list[bytes]) -> list[dict[str, Any]]:
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):  # incomplete after a crash; later lines may be whole
            continue
        if isinstance(record, dict) and record.get("kind") in ("step", "epoch"):
            records.append(record)
    return records
