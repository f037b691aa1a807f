"""The runs of a study: queued, asked to pause or go on, and read as outcomes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from engine import data
from engine.config import SETTINGS, RunConfig, with_fields
from engine.data import batches
from engine.errors import ConfigError, DataError, RunError, StudyError
from engine.runs import compare
from engine.runs.run import HELD, RESUMABLE, Run, State, Status
from engine.settings import get_field
from engine.studies import rates
from engine.studies import study as studies
from engine.studies.results import ENDED, Outcome
from engine.studies.study import Study
from engine.worker import Worker

POLL_S = 0.5
OTHER_DATA = "other data"
SAME = ("precision", "torch", "device_name")  # of the runs of one block


def image_counts(dataset: str, root: str, fit: str) -> tuple[int, int]:
    """Numbers of training and test images of a data set. Raises DataError.

    One's own images are read for it, which takes seconds for a large set.
    """
    if dataset in data.DATASETS:
        return data.DATASETS[dataset].sizes
    info = data.load(dataset, Path(root), fit=fit)
    return len(info.train_images), len(info.test_images)


Counts = Callable[[str, str, str], tuple[int, int]]  # image_counts, or a cache of it


def sizes(config: RunConfig, counts: Counts = image_counts) -> tuple[int, int]:
    """Numbers of images that a run is trained and validated on. Raises ConfigError, DataError."""
    choice = config.data
    train, test = counts(choice.dataset, choice.root, choice.fit)
    return batches.split_sizes(train, test, holdout=choice.holdout, limit=choice.limit)


def count_test_images(config: RunConfig, counts: Counts = image_counts) -> int:
    """Number of test images of a config's data set. Raises DataError."""
    return counts(config.data.dataset, config.data.root, config.data.fit)[1]


def current(study: Study) -> Study:
    """The study whose runs are at work: the search for its rates, as long as these are missing.

    Reads the user's own images to count them. Raises ConfigError or DataError.
    """
    if not rates.missing(study):
        return study
    whole = with_fields(study.config(study.rows()[0], study.seeds[0]), {"data.limit": None})
    return rates.search(study, sizes(whole)[0])


def displayed(study: Study) -> Study:
    """As `current`, but without its number of held-out images, which takes reading the data."""
    return rates.search(study, 1) if rates.missing(study) else study


def members(study: Study, run_root: Path) -> list[Run]:
    """The runs of `current` that exist, in their order."""
    runs = [Run(run_root / name) for name, _, _ in displayed(study).runs()]
    return [run for run in runs if run.exists()]


def start(study: Study, study_root: Path, run_root: Path, worker: Worker) -> None:
    """Store a new study and queue its runs, or those of the search for its rates.

    Raises ConfigError, DataError, RunError or StudyError, also if another study has its name.
    """
    with studies.hold(study_root, study.name, studies.WAIT_S):
        studies.create(study, study_root)
        _queue(study, study_root, run_root, worker)


def change(
    name: str, edit: Callable[[Study], Study], study_root: Path, run_root: Path, worker: Worker
) -> None:
    """Change a stored study and queue the runs that it lacks. Raises as start."""
    with studies.hold(study_root, name, studies.WAIT_S):
        _queue(studies.change(study_root, name, edit), study_root, run_root, worker)


def go_on(name: str, study_root: Path, run_root: Path, worker: Worker) -> None:
    """Queue the runs that a stored study lacks. Raises as start."""
    change(name, lambda study: study, study_root, run_root, worker)


def _queue(study: Study, study_root: Path, run_root: Path, worker: Worker) -> None:
    """Queue the runs that a stored study lacks, or those of the search for its rates."""
    searched = current(study)
    if searched is not study:
        ended = outcomes(searched, run_root, held_out=True)
        if len(ended) < len(searched.runs()) or not all(o.state in ENDED for o in ended):
            _store_search(searched, study_root)
            _submit(searched, run_root, worker)
            return
        study = rates.fair(study, searched, ended)
        studies.save(study, study_root)
    _submit(study, run_root, worker)


def _store_search(searched: Study, study_root: Path) -> None:
    with contextlib.suppress(ConfigError, StudyError):
        if studies.load(study_root, searched.name).question != searched.question:
            raise RunError(f"study {searched.name!r} already exists; rename its folder")
    studies.save(searched, study_root)


def _submit(study: Study, run_root: Path, worker: Worker) -> None:
    for name, row, seed in study.runs():
        if not Run(run_root / name).exists():
            race = f"{study.name} {seed}" if study.race else ""
            config = study.config(row, seed)
            worker.submit(config, name, run_root, study=study.name, race=race)


def follow(name: str, study_root: Path, run_root: Path, worker: Worker) -> None:
    """Wait for the search for a study's rates, if there is one, and start the study.

    Returns once that has been done, or when the search has been paused or stopped. Raises as start.
    """
    study = studies.load(study_root, name)
    if not rates.missing(study):
        return
    while True:
        states = {member.status().state for member in members(study, run_root)}
        if not states & {State.QUEUED, *HELD}:
            break
        time.sleep(POLL_S)
    if states <= set(ENDED):
        go_on(name, study_root, run_root, worker)


def ask(name: str, what: str, study_root: Path, run_root: Path, worker: Worker) -> list[str]:
    """Pause, stop or resume all runs of a stored study. Returns what was refused, in sentences.

    Resumed runs go on in their order, those that have begun before those that have not. The study
    is read from its file: it may have got other runs since it was displayed.
    """
    problems = []
    try:
        study = studies.load(study_root, name)
    except (ConfigError, StudyError) as error:
        return [str(error)]
    runs = members(study, run_root)
    if what != "resume":
        runs.reverse()  # queued ones first: none starts meanwhile
    for run in runs:
        try:
            _ask_run(worker, run, what)
        except (ConfigError, RunError) as error:
            problems.append(str(error))
    if what == "resume":
        worker.continue_queue(run_root, displayed(study).name)
        try:
            go_on(name, study_root, run_root, worker)
        except (ConfigError, DataError, RunError, StudyError) as error:
            problems.append(str(error))
    return problems


def _ask_run(worker: Worker, run: Run, what: str) -> None:
    state = run.status().state
    if what == "resume":
        if state in RESUMABLE:
            worker.resume(run, "last")
    elif state is State.QUEUED:
        worker.cancel(run, State.PAUSED if what == "pause" else State.STOPPED)
    elif state in HELD:
        run.request(what)
    elif state is State.PAUSED and what == "stop":
        worker.stop(run)


def outcomes(study: Study, run_root: Path, *, held_out: bool = False) -> list[Outcome]:
    """The result of every run that exists, and what it differs in from its study and its block.

    held_out: accuracies on the held-out images, to select by, instead of those on the test images.
    Raises DataError if the number of test images was not stored and cannot be read.
    """
    found = []
    blocks: dict[tuple[str, int], Status] = {}  # of the first run, by machine and seed
    images: dict[str, compare.Info] = {}  # of the first run, by how images are made square
    for name, row, seed in study.runs():
        run = Run(run_root / name)
        try:
            status, config, info = run.status(), run.config(), run.dataset_info()
        except (RunError, ConfigError):
            continue
        machine = status.compute.get("device_name", "")
        wanted = study.config(row, seed)
        block = blocks.setdefault((machine, seed), status) if info else status
        if info and _is_named_as(wanted, config):
            images.setdefault(config.data.fit, info)
        differences = (
            *confounds(wanted, config, (images.get(config.data.fit), info)),
            *machine_differences(block, status),
        )
        on_test = status.val_is_test or not held_out
        accuracy = status.final_acc if status.val_is_test or held_out else status.test_acc
        finished = status.state is State.FINISHED
        count = _tested_images(config, info) if finished and on_test else config.data.holdout
        if finished and accuracy is None:
            differences = ("no test accuracy: trained by an older version", *differences)
        found.append(
            Outcome(
                value=row.name,
                seed=seed,
                accuracy=accuracy if finished else None,
                chance=1 / (len(info["classes"]) if info else 10),
                n_images=count if finished else 0,
                state=status.state.value,
                confounds=differences,
                block=f"{machine}, {status.compute.get('precision', '')}" if machine else "",
                data=compare.data_id(info),
            )
        )
    return found


def _tested_images(config: RunConfig, info: compare.Info) -> int:
    if info and (fingerprint := info.get("fingerprint")):
        return fingerprint["test"]["count"]
    return count_test_images(config)


def _is_named_as(wanted: RunConfig, config: RunConfig) -> bool:
    """Whether both configs name the same data set, be it in another folder."""
    return data.name_of(wanted.data.dataset) == data.name_of(config.data.dataset)


def confounds(
    wanted: RunConfig, config: RunConfig, infos: tuple[compare.Info, compare.Info]
) -> tuple[str, ...]:
    """Settings in which a run differs from its study, other than its value.

    infos: of the study's data set, from its first run, and of the run's.
    """
    found = [
        OTHER_DATA
        if path == "data.dataset"
        else f"{SETTINGS[path].label.lower()} {get_field(config, path)}"
        for path in compare.differing([wanted, config], list(infos))
    ]
    return (*found, *(["seed"] * (wanted.seed != config.seed)))


def machine_differences(first: Status, this: Status) -> list[str]:
    """What a run's machine and libraries differ in from those of the first run of its block."""
    found = []
    for key in SAME:
        mine, theirs = this.compute.get(key), first.compute.get(key)
        if mine != theirs and mine and theirs:
            found.append(f"{key.replace('_', ' ')} {mine}")
    return found
