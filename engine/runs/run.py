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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from engine import files
from engine.config import RunConfig
from engine.errors import RunError
from engine.files import write_atomic
from engine.runs import contents, metrics
from engine.runs.contents import SCHEMA, TITLE_CHARS
from engine.runs.status import HELD, RESUMABLE, State, Status

__all__ = [
    "HELD",
    "RESUMABLE",
    "SCHEMA",
    "TITLE_CHARS",
    "Run",
    "RunWriter",
    "State",
    "Status",
    "config_json",
]

NOTE_CHARS = 10_000
# Written without the lock, so perhaps at this moment: the sweep of a holder leaves them alone.
UNLOCKED = (".control.json.", ".note.txt.", ".title.txt.")
LOCK_WAIT_S = 2.0  # seconds; `is_alive` of another process holds the lock for microseconds


class Run:
    """Read access to a run's folder. A RunWriter, obtained from `hold`, writes to it."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self.name = self.path.name

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    def exists(self) -> bool:
        """Whether there is such a run, be it damaged."""
        return contents.exists(self.path)

    def config(self) -> RunConfig:
        """The config. Raises RunError or ConfigError if config.json is damaged."""
        return contents.read_config(self.path)

    def dataset_info(self) -> dict[str, Any] | None:
        """{"name", "classes", "mean", "std"} of the data set; None before it was loaded.

        Raises RunError if config.json is damaged.
        """
        return contents.read_dataset_info(self.path)

    def status(self) -> Status:
        """Status; a run that is running or waiting but whose lock is free is interrupted.

        If status.json cannot be read, the state is damaged, and `message` says what to do. Raises
        RunError if there is no such run.
        """
        try:
            status = contents.read_status(self.path)
            if status.state in HELD and not self.is_alive():
                status = contents.read_status(self.path)  # it may have ended in between
                if status.state in HELD:
                    return dataclasses.replace(status, state=State.INTERRUPTED)
        except RunError as error:
            if not self.exists():
                raise contents.absent(self.path) from None
            advice = "resume the run to train on from its last checkpoint, or delete it"
            return contents.recover_status(self.path, State.DAMAGED, f"{error}; {advice}")
        return status

    def problems(self) -> list[str]:
        """Sentences about files, other than status.json, that are damaged or missing."""
        return contents.problems(self.path)

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
        """Records from byte `offset` on, and the offset of the next call; damaged ones left out.

        An incomplete last line is left for the next call. An offset past the end (a resume trims
        the file) reads from the beginning.
        """
        return contents.read_records(self.path, offset)

    def epochs(self) -> list[dict[str, Any]]:
        """Epoch records only; much faster than `records`, since step records are not parsed."""
        return contents.read_epochs(self.path)

    def log(self) -> str:
        """The end of the log."""
        return contents.read_log(self.path)

    def request(self, command: str) -> None:
        """Request that the writer, in any process, pauses or stops: "pause" or "stop".

        Raises RunError if the request cannot be written.
        """
        if command not in ("pause", "stop"):
            raise ValueError(f"unknown command {command!r}")
        with self.writing("control.json") as path:
            write_atomic(path, json.dumps({"command": command}), durable=False)

    def note(self) -> str:
        """The user's note; empty if there is none."""
        return contents.read_note(self.path)

    def set_note(self, text: str) -> None:
        """Replace the note. Raises RunError if it cannot be written."""
        with self.writing("note.txt") as path:
            content = text[:NOTE_CHARS].encode("utf-8", "replace")
            write_atomic(path, content, durable=False)

    def title(self) -> str:
        """The user's title, one line beside the name, which stays the identity; empty if none."""
        return contents.read_title(self.path)

    def set_title(self, text: str) -> None:
        """Replace the title, or remove it. Raises RunError if it cannot be written."""
        with self.writing("title.txt") as path:
            if title := contents.one_line(text):
                write_atomic(path, title.encode(), durable=False)
            else:
                path.unlink(missing_ok=True)

    def requested(self) -> str | None:
        """The pending request, "pause" or "stop", or None."""
        try:
            command = contents.read_json(self.path, "control.json").get("command")
        except RunError:  # none; or Windows, while it is replaced
            return None
        return command if command in ("pause", "stop") else None

    def holder(self) -> str:
        """Description of the lock's holder, such as "train.py, process 12 on host"."""
        try:
            held = contents.read_json(self.path, "holder.json")
            return f"{held['role']}, process {held['pid']} on {held['host']}"
        except (RunError, KeyError):
            return "another process"

    @contextlib.contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """The path of one of the run's files; an OSError in the context becomes a RunError."""
        try:
            yield self.path / name
        except OSError as error:
            why = files.reason(error)
            raise RunError(f"run {self.name!r}: {name} cannot be written: {why}") from error

    @contextlib.contextmanager
    def hold(self, role: str) -> Iterator[RunWriter]:
        """Acquire the lock and yield the writer. Raises RunError if it is held."""
        if not any(os.path.lexists(self.path / name) for name in ("config.json", "status.json")):
            raise contents.absent(self.path)  # not a run's folder
        try:
            lock = self._lock(timeout=LOCK_WAIT_S)
            lock.acquire()
        except Timeout:
            raise RunError(f"run {self.name!r} is in use by {self.holder()}") from None
        except FileNotFoundError:
            raise contents.absent(self.path) from None
        except OSError as error:
            why = files.reason(error)
            raise RunError(f"run {self.name!r} cannot be locked: {why}") from error
        try:
            self._sweep()
            holder = {"role": role, "pid": os.getpid(), "host": socket.gethostname()}
            with contextlib.suppress(OSError):  # only informs others; a full disk can do without
                (self.path / "holder.json").unlink(missing_ok=True)
                write_atomic(self.path / "holder.json", json.dumps(holder), durable=False)
            yield RunWriter(self)
        finally:
            lock.release()

    def _lock(self, timeout: float) -> FileLock:
        if not self.path.is_dir():  # filelock would create the folder of a deleted run
            raise FileNotFoundError(self.path)
        # Not thread-local: other threads of this process must see that the lock is held.
        return FileLock(self.path / "run.lock", timeout=timeout, thread_local=False)

    def sweep(self) -> None:
        """Remove temporary files and folders of killed writers, unless the run has a writer."""
        if self._leftovers():
            with contextlib.suppress(Timeout, OSError), self._lock(timeout=0):
                self._sweep()

    def _sweep(self) -> None:
        for path in self._leftovers():
            if not path.name.startswith(UNLOCKED):
                files.remove(path)
        files.sweep(self.path)

    def _leftovers(self) -> list[Path]:
        return [*self.path.glob(".*.tmp"), *self.path.glob("resume/.*.tmp")]


class RunWriter:
    """Write access to a run, valid while its lock is held."""

    def __init__(self, run: Run):
        self.run = run
        try:
            self._status = contents.read_status(run.path)
        except RunError:
            # Progress is not synced to disk, so a power cut may lose it; checkpoints have the rest.
            self._status = contents.recover_status(run.path, State.INTERRUPTED)

    @property
    def status(self) -> Status:
        return self._status

    def update(self, *, durable: bool = False, **changes: Any) -> None:
        """Replace fields of the status. A change of state is synced to disk; progress is not."""
        if "state" in changes and changes["state"] is not self._status.state:
            durable = True
        self._status = dataclasses.replace(self._status, updated=time.time(), **changes)
        content = json.dumps(dataclasses.asdict(self._status))
        with self.run.writing("status.json") as path:
            write_atomic(path, content, durable=durable)

    def begin(self, allowed: tuple[State, ...]) -> None:
        """Change to running from one of the `allowed` states; discard requests of earlier sessions.

        Raises RunError for any other state.
        """
        state = self._status.state
        if state in HELD:  # the lock is ours: the process that ran it has died
            state = State.INTERRUPTED
        if state not in allowed:
            raise RunError(f"run {self.run.name!r} is {state} and cannot be started")
        self.discard_request()
        self.update(state=State.RUNNING, phase="starting", message="", lasting=False, notes=[])

    def discard_request(self) -> None:
        with self.run.writing("control.json") as path:
            path.unlink(missing_ok=True)

    def save_config(self, config: RunConfig, dataset_info: dict[str, Any]) -> None:
        """Write config.json: the resolved config, and the data set's classes, mean and std."""
        with self.run.writing("config.json") as path:
            write_atomic(path, config_json(config, dataset_info))

    def append(self, records: list[dict[str, Any]], *, durable: bool = False) -> None:
        """Append records; `durable` syncs them, and all before them, to disk."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        with self.run.writing("metrics.jsonl") as path, path.open("ab") as file:
            file.write(lines.encode())
            if durable:
                file.flush()
                os.fsync(file.fileno())

    def trim(self, step: int, epochs_done: int, recorded: Iterable[tuple[int, int]] = ()) -> str:
        """Drop records after the checkpoint of a resume, and lines that are no records.

        Returns a sentence if the file lacks records up to the checkpoint, which are lost. recorded:
        as of metrics.missing_epochs.
        """
        limits = {"step": ("step", step), "epoch": ("epoch", epochs_done)}
        kept = []
        for record in self.run.records()[0]:
            key, limit = limits[record["kind"]]
            if record[key] <= limit:
                kept.append(record)
        with self.run.writing("metrics.jsonl") as path:
            write_atomic(path, "".join(json.dumps(record) + "\n" for record in kept))
        missing = metrics.missing_epochs(kept, epochs_done, recorded)
        if not missing:
            return ""
        first, last = missing[0], missing[-1]
        which = f"epoch {first}" if first == last else f"epochs {first} to {last}"
        if last - first >= len(missing):
            which = f"{len(missing)} epochs from {first} to {last}"
        return f"metrics.jsonl lacks records of {which}: they are lost, and the curves have a gap"

    def log(self, text: str) -> None:
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        mode = {"mode": "a", "encoding": "utf-8", "errors": "backslashreplace"}
        with self.run.writing("train.log") as path, path.open(**mode) as file:
            file.write(f"{stamp} {text.rstrip()}\n")


def config_json(config: RunConfig, dataset_info: dict[str, Any] | None) -> str:
    """Contents of config.json. dataset_info: None before the data was loaded."""
    extras = {"schema": SCHEMA, "dataset_info": dataset_info}
    return json.dumps({**extras, **config.to_dict()}, indent=2)
