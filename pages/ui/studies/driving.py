"""Plan, start and steer a study from the page; its results from the runs' files."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import streamlit as st

from engine.errors import ConfigError, DataError, RunError, StudyError
from engine.studies import plan, run
from engine.studies.plan import Costs, Plan
from engine.studies.results import Outcome
from engine.studies.study import Study
from pages.ui import folders, process, readings


def costs() -> Costs:
    """What runs cost on this machine."""
    return Costs(
        process.epoch_seconds,
        process.test_seconds,
        lambda config: readings.split_sizes(config)[0],
        len(process.worker().devices),
    )


def knows_speed(study: Study) -> bool:
    """Whether this machine's speed is known, which a plan needs."""
    return process.epoch_seconds(study.config(study.rows()[0], study.seeds[0])) is not None


def planned(study: Study, seconds: float | None) -> Plan:
    """The plan for a study in a time."""
    return plan.plan(study, costs(), seconds)


def priced(study: Study) -> Plan:
    """The plan for a study as it is."""
    return plan.price(study, costs())


def start(study: Study) -> None:
    """Store a new study and queue its runs; raises as run.start."""
    run.start(study, folders.STUDY_ROOT, folders.RUN_ROOT, process.worker())
    _follow(study.name)


def change(name: str, edit: Callable[[Study], Study]) -> None:
    """Change a stored study and queue its new runs; raises as run.start."""
    run.change(name, edit, folders.STUDY_ROOT, folders.RUN_ROOT, process.worker())
    _follow(name)


def _follow(name: str) -> None:
    """Once the search for a study's rates has ended, start the study, whoever looks or not."""
    arguments = (name, folders.STUDY_ROOT, folders.RUN_ROOT, process.worker())
    threading.Thread(target=_start_after, args=arguments, name="rates", daemon=True).start()


def _start_after(*arguments) -> None:
    with contextlib.suppress(ConfigError, DataError, RunError, StudyError):  # Resume tells it
        run.follow(*arguments)


def is_queued(name: str) -> bool:
    """Whether this server will train a run, or is about to."""
    worker, path = process.worker(), folders.RUN_ROOT / name
    return path in [each.path for each in (*worker.waiting(), worker.current) if each]


def ask(name: str, what: str) -> None:
    """Pause, stop or resume all runs of a study; the first refusal becomes a message."""
    problems = run.ask(name, what, folders.STUDY_ROOT, folders.RUN_ROOT, process.worker())
    if what == "resume":
        _follow(name)
    if problems:
        st.session_state["study_problem"] = problems[0]


def outcomes(study: Study, *, held_out: bool = False) -> list[Outcome]:
    """The result of every run that exists; held_out: as run.outcomes has it."""
    return run.outcomes(study, folders.RUN_ROOT, held_out=held_out)
