"""The user's own images on the Train form: a kept set, pictures to add, or a path.

The path in session state, "dataset_path", is what the form is read from; the widgets here set it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from pathlib import Path

import streamlit as st

from engine import runs
from engine.data import own
from engine.errors import ConfigError, DataError, RunError, StudyError
from engine.presets import FINE_TUNE
from engine.runs.run import HELD, Run, State
from engine.studies import study as studies
from engine.studies.study import Study
from pages.ui import choices, folders, readings
from pages.ui.text import markdown, plain
from pages.ui.train import adding

KEPT, ADD, PATH = "kept", "add", "path"
TITLES = {KEPT: "Saved data sets", ADD: "Add pictures", PATH: "Path to a folder or zip"}
NAMED = 5  # runs in a message, at most


def own_inputs() -> None:
    """Where the images are, and the inputs for that."""
    form = st.session_state
    if (place := adding.settle()) is not None:
        form["dataset_path"] = str(place)
    sets = {path.name: str(path) for path in own.list_sets(folders.DATA_ROOT)}
    _follow_path(sets)
    st.segmented_control(
        "Where are your images?",
        [key for key in TITLES if sets or key != KEPT],
        key="own_from",
        required=True,
        format_func=TITLES.get,
        on_change=_choose_place,
        args=(sets,),
        persist_state="session",
    )
    with st.container(key=f"own_images_{form['own_from']}"):
        if form["own_from"] == KEPT:
            _kept(sets)
        elif form["own_from"] == ADD:
            adding.add_pictures()
        else:
            st.text_input(
                "Folder or zip on this computer",
                key="dataset_path",
                help="With train/<class>/… and test/<class>/…, or just <class>/…. Splits may have "
                "other customary names, such as Training or val.",
                persist_state="session",
            )
    if form["dataset_path"].strip() and not form["pretrained"]:
        st.button(
            "Fine-tune a trained network on these images",
            key="own_fine_tune",
            type="primary",
            on_click=choices.start_from,
            args=(FINE_TUNE,),
        )
        st.caption(
            "Recommended for a few dozen images of each class: fills in the form from the "
            "Fine-tune preset, which continues from a trained network."
        )


def _follow_path(sets: dict[str, str]) -> None:
    """Make the widgets fit the path, which a link or a preset may have changed."""
    form = st.session_state
    path = form["dataset_path"].strip()
    name = next((name for name, place in sets.items() if path and Path(place) == Path(path)), None)
    if name:
        form["own_from"], form["own_set"] = KEPT, name
    elif path:
        form["own_from"] = PATH
    elif form.get("own_from") not in (ADD, PATH):
        form["own_from"] = KEPT if sets else ADD
        _choose_place(sets)


def _choose_place(sets: dict[str, str]) -> None:
    """Set the path to the chosen set; keep a typed path for when it is chosen again."""
    form = st.session_state
    before = form["dataset_path"]
    if before.strip() and before not in sets.values():
        form["own_typed_path"] = before
    if form["own_from"] == KEPT:
        if form.get("own_set") not in sets:
            form["own_set"] = next(iter(sets), None)
        form["dataset_path"] = sets.get(form["own_set"], "")
    else:
        form["dataset_path"] = form.get("own_typed_path", "") if form["own_from"] == PATH else ""


def _kept(sets: dict[str, str]) -> None:
    form = st.session_state
    st.selectbox(
        "Saved data set",
        list(sets),
        key="own_set",
        on_change=_choose_place,
        args=(sets,),
        persist_state="session",
    )
    box = st.popover("Rename or delete", key=f"own_change_{form['own_set']}", on_change="rerun")
    if box.open:
        with box:
            _change(Path(sets[form["own_set"]]))
    if problem := form.pop("own_problem", None):
        st.error(problem)


def _change(path: Path) -> None:
    """Rename or delete a kept set, after saying who uses it."""
    used = [run.name for run in _users(path)]
    asking = [study.name for study in _studies(path)]
    if used:
        st.write(f"Used by the {_listed('run', used)}.")
    if asking:
        st.write(f"Used by the {_listed('study', asking)}.")
    if not (used or asking):
        st.write("No run or study uses this data set.")
    key = f"own_new_name_{path.name}"
    st.text_input("New name", value=path.name, key=key, max_chars=80)
    st.button("Rename", key="own_rename", on_click=_rename, args=(path, key))
    lost = " The runs stay, but cannot be resumed, tested or inspected on it." if used else ""
    lost += " Studies stay too, but can train no further runs." if asking else ""
    st.write(f"Deleted pictures cannot be restored.{lost}")
    st.button("Delete permanently", key="own_delete", on_click=_delete, args=(path,))


def _listed(what: str, names: list[str]) -> str:
    """Such as "runs **a**, **b**": NAMED of the names, and how many more there are."""
    many = {"run": "runs", "study": "studies"}[what] if len(names) > 1 else what
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{many} {', '.join(f'**{markdown(name)}**' for name in names[:NAMED])}{more}"


def _users(path: Path) -> list[Run]:
    """The runs that are trained on a set."""
    place = path.resolve()
    configs = ((run, readings.config_of(run)) for run in readings.list_runs(folders.RUN_ROOT))
    return [run for run, config in configs if config and _is_at(config.data.dataset, place)]


def _is_at(dataset: str, place: Path) -> bool:
    return Path(dataset).name == place.name and Path(dataset).resolve() == place


def _require_idle(users: list[Run]) -> None:
    """Raise RunError if a run is training on the set or waits to."""
    for run in users:
        status = readings.status_of(run)
        if status and status.state in (State.QUEUED, *HELD):
            raise RunError(
                f"run {run.name!r} uses these images and is {status.state.value}; wait until "
                "it ends"
            )


def _rename(path: Path, key: str) -> None:
    """Give the set the name that was typed, also in its runs and studies; a refusal is told."""
    form, users = st.session_state, _users(path)
    try:
        _require_idle(users)
        renamed = own.rename(path, form[key].strip())
    except (ConfigError, DataError, RunError) as error:
        form["own_problem"] = markdown(plain(error))
        return
    form["dataset_path"], form["own_set"] = str(renamed), renamed.name
    moves = [functools.partial(runs.move_data, run, str(renamed)) for run in users]

    def moved(study: Study) -> Study:
        return dataclasses.replace(study, base={**study.base, "data.dataset": str(renamed)})

    moves += [
        functools.partial(studies.change, folders.STUDY_ROOT, study.name, moved)
        for study in _studies(path)
    ]
    for move in moves:  # one that fails must not keep the others from it
        try:
            move()
        except (ConfigError, RunError, StudyError) as error:
            form["own_problem"] = markdown(plain(error))


def _studies(path: Path) -> list[Study]:
    """The studies whose runs are trained on a set, or will be."""
    place, found = path.resolve(), []
    for name in studies.list_studies(folders.STUDY_ROOT):
        with contextlib.suppress(ConfigError, StudyError):  # a damaged one
            study = studies.load(folders.STUDY_ROOT, name)
            if _is_at(study.base.get("data.dataset", ""), place):
                found.append(study)
    return found


def _delete(path: Path) -> None:
    form = st.session_state
    try:
        _require_idle(_users(path))
        own.delete(path)
        form["dataset_path"] = ""
        form["own_from"] = None  # chosen anew
    except (DataError, RunError) as error:
        form["own_problem"] = markdown(plain(error))
