"""The folder of all runs: create, open, list, rename and delete them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from pathlib import Path

from filelock import FileLock

from engine import files
from engine.checks import check_name
from engine.config import RunConfig, with_fields
from engine.errors import ConfigError, RunError
from engine.files import replace, write_atomic
from engine.runs.naming import describe
from engine.runs.run import Run, State, Status, config_json

SHIPPED = Path(__file__).resolve().parents[2] / "checkpoints" / "pretrained"  # trained networks


def check_free(root: Path, name: str) -> None:
    """Raise ConfigError if `name` is no valid name, RunError if a run has it already."""
    check_name(name)
    if not str(root).isprintable():  # TensorBoard needs a path that is valid Unicode
        raise RunError(f"folder of runs {str(root)!r}: unprintable characters; choose another")
    if name.lower() in _taken(root):
        raise RunError(f"run {name!r} already exists; choose another name, or resume it")


def _taken(root: Path) -> set[str]:
    """Names in use, in lower case: some file systems ignore case."""
    try:
        return {path.name.lower() for path in root.iterdir()} if root.is_dir() else set()
    except OSError as error:  # not readable, or not a path
        raise _unreadable(root, error) from error


def _unreadable(root: Path, error: OSError) -> RunError:
    return RunError(f"cannot read the folder of runs {root}: {files.reason(error)}")


def create(root: Path, name: str, config: RunConfig, *, study: str = "", race: str = "") -> Run:
    """Create the folder of a new queued run atomically. Raises RunError for an existing name.

    study, race: see Status.
    """
    check_free(root, name)
    staging = root / f".{name}.{os.getpid()}.tmp"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".create.lock", timeout=30):
            check_free(root, name)  # another process may have created it meanwhile
            files.sweep(root)
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir()
            now = time.time()
            status = Status(created=now, queued=now, updated=now, epochs=config.epochs)
            status = dataclasses.replace(status, study=study, race=race)
            write_atomic(staging / "config.json", config_json(config, None))
            write_atomic(staging / "status.json", json.dumps(dataclasses.asdict(status)))
            staging.rename(root / name)
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        raise RunError(f"cannot create a run in {root}: {files.reason(error)}") from error
    return Run(root / name)


def find_run(root: Path, name: str) -> Run:
    """The run `name` under `root`, be it damaged. Raises ConfigError or RunError."""
    check_name(name)
    run = Run(root / name)
    if not run.exists():
        raise RunError(f"there is no run {name!r} in {root}")
    return run


def open_run(root: Path, name: str) -> Run:
    """The run `name` under `root`. Raises RunError if there is none or its config is damaged."""
    check_name(name)
    run = Run(root / name)
    run.dataset_info()  # raises if the config cannot be read
    return run


def resume_words(run: Run) -> list[str]:
    """The words after "python" of the command that resumes a run."""
    words = ["train.py", "--name", run.name, "--resume"]
    root = run.path.parent
    return words if root == Path("checkpoints") else [*words, "--run-root", str(root)]


def rename(run: Run, name: str) -> Run:
    """Rename a run. Raises RunError if it is training, queued, of a study, or the name is taken."""
    with run.hold("the app") as writer:  # raises while it is training
        check_free(run.path.parent, name)
        if writer.status.state is State.QUEUED:  # the queue refers to its name
            raise RunError(f"run {run.name!r} is queued; rename it once it has ended")
        if study := writer.status.study:  # which knows its runs by their names
            raise RunError(f"run {run.name!r} belongs to study {study!r}; give it a title instead")
    target = run.path.with_name(name)
    try:
        replace(run.path, target)  # after releasing the lock: Windows cannot move a file in use
    except OSError as error:
        why = files.reason(error)
        raise RunError(f"run {run.name!r} cannot be renamed: {why}") from error
    return Run(target)


def move_data(run: Run, dataset: str) -> None:
    """Record that a run's own images have moved to another path. Raises RunError."""
    path = run.path / "config.json"
    with run.hold("the app") as writer:
        changed = path.stat().st_mtime_ns
        config = with_fields(run.config(), {"data.dataset": dataset})
        writer.save_config(config, run.dataset_info())
        later = changed + 1_000  # runs are listed by it, and caches must notice the change
        os.utime(path, ns=(later, later))


def check_unused(run: Run) -> None:
    """Raise RunError while a process writes to the run."""
    try:
        with run.hold("the app"):
            pass
    except RunError as error:
        # Where not even a lock file can be made, as on a full disk, no process holds the lock.
        lockless = isinstance(error.__cause__, OSError) and not (run.path / "run.lock").exists()
        if not lockless:
            raise


def delete(run: Run) -> None:
    """Delete a run and its folder. Raises RunError while it is training, or if that fails."""
    check_unused(run)
    trash = run.path.with_name(f".{run.name}.{os.getpid()}.trash")
    try:
        replace(run.path, trash)  # atomic; the removal itself may take long
    except OSError as error:
        why = files.reason(error)
        raise RunError(f"run {run.name!r} cannot be deleted: {why}") from error
    shutil.rmtree(trash, ignore_errors=True)


def list_runs(root: Path) -> list[Run]:
    """Every run under `root`, newest first, also damaged ones; other folders are skipped.

    Raises RunError if `root` is a folder that cannot be read.
    """
    try:
        paths = list(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        raise _unreadable(root, error) from error
    found = []
    for path in paths:
        try:
            check_name(path.name)
        except ConfigError:
            continue
        if (made := _time(path)) is not None:
            found.append((made, Run(path)))
    return [run for _, run in sorted(found, key=lambda pair: (-pair[0], pair[1].name))]


def _time(path: Path) -> float | None:
    """Modification time of a run's config, or of the folder without one; None if it is no run."""
    try:
        return (path / "config.json").lstat().st_mtime
    except OSError:
        return path.lstat().st_mtime if Run(path).exists() else None


def sweep(root: Path) -> None:
    """Remove leftovers of killed processes under `root`, where no process trains."""
    files.sweep(root)
    for run in list_runs(root):
        run.sweep()


def suggest_name(root: Path, config: RunConfig, base: str | None = None) -> str:
    """An unused name: `base`, or one that describes the config, such as resnet18-mish-mixup-2."""
    return free_name(root, base or describe(config))


def free_name(root: Path, base: str) -> str:
    """`base`, or base-2, base-3, … if a run has that name."""
    try:
        taken = _taken(root)
    except RunError:  # creating the run will report it
        taken = set()
    numbers = range(2, len(taken) + 3)
    return next(n for n in [base, *(f"{base}-{i}" for i in numbers)] if n.lower() not in taken)
