"""The study that the page shows, and its runs, read from their files."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import zlib
from urllib.parse import quote, urlsplit

import streamlit as st

from engine.config import MAX_JSON_BYTES
from engine.errors import ConfigError, StudyError
from engine.runs.run import State
from engine.studies import bundle, rates, run
from engine.studies.results import ENDED, Outcome
from engine.studies.study import Study
from pages.ui import folders, history, readings
from pages.ui.curves import costs_of
from pages.ui.studies import driving
from pages.ui.studies.charts import Curve
from pages.ui.studies.progress import Member, state

IDLE_S = 10.0  # between two looks at a study that is not in progress


def open_study(name: str | None) -> None:
    """Show this study, or with None the list of all; the address says which."""
    st.session_state.pop("draft", None)
    st.query_params.clear()
    if name:
        st.query_params["study"] = name


def members(study: Study) -> list[Member]:
    """Every run that is to be trained now, whether it exists yet or not."""
    found = []
    for name, row, seed in run.displayed(study).runs():
        found_run = readings.find_run(name)
        status = readings.status_of(found_run) if found_run else None
        left = status is not None and status.state is State.QUEUED and not driving.is_queued(name)
        found.append(Member(name, row.name, seed, status, left))
    return found


def state_of(study: Study, members: list[Member]) -> State:
    """The state of a study; it is not finished with the search for its rates."""
    now = state(members)
    return State.INTERRUPTED if now is State.FINISHED and rates.missing(study) else now


def rates_problem(study: Study, members: list[Member]) -> str | None:
    """Why the search for a study's rates ended without one for each value; None if it did not."""
    states = {member.status.state if member.status else None for member in members}
    if not states <= set(ENDED):
        return None
    searched = run.displayed(study)
    try:
        rates.fair(study, searched, driving.outcomes(searched, held_out=True))
    except StudyError as error:
        return str(error)
    return None


def outcomes(study: Study) -> list[Outcome]:
    """Results of the runs here and of those that were imported. Raises DataError."""
    return bundle.outcomes(study, folders.STUDY_ROOT, folders.RUN_ROOT)


def curves(study: Study) -> list[Curve]:
    """The runs of a study that have begun, with their epoch records and costs."""
    found = []
    for name, row, _ in study.runs():
        begun = readings.find_run(name)
        config = readings.config_of(begun) if begun else None
        if config is None:
            continue
        found.append(Curve(row.name, history.epochs(begun), costs_of(begun, "macs")))
    return found


def link(study: Study) -> None:
    """The link that opens this plan, with its time and cuts, on any server."""
    with st.expander("Copy as a link", key="study_link"):
        address = urlsplit(st.context.url or "http://localhost:8501/Studies")
        place = f"{address.scheme}://{address.netloc}{address.path}"
        st.code(f"{place}?plan={quote(encode(study))}", language=None, wrap_lines=True)


def encode(study: Study) -> str:
    """The plan of a study as text for a link, without the seeds added after looking."""
    base = {path: value for path, value in study.base.items() if path != "data.root"}
    text = dataclasses.replace(study, base=base, added_seeds=()).to_json()
    return base64.urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode()


def decode(text: str) -> Study:
    """The study of a text from encode. Raises ConfigError for anything else."""
    try:
        unpacker = zlib.decompressobj()
        packed = base64.urlsafe_b64decode(text.encode())
        return Study.from_json(unpacker.decompress(packed, MAX_JSON_BYTES).decode())
    except (zlib.error, binascii.Error, UnicodeError) as error:
        raise ConfigError("plan", "the link is damaged") from error
