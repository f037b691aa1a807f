"""Adding own images on the Train form: upload or camera, check, preview, and *Use these*.

Session state: "own_draft" holds what was added and is not kept yet.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import streamlit as st

from engine.data import formats, own
from engine.data.background import Task
from engine.errors import DataError
from pages.ui import folders, readings, refresh
from pages.ui.text import markdown, plain
from pages.ui.train.found import found

MAX_MB = own.MAX_BYTES >> 20
ZIP, FILES, CAMERA = "zip", "files", "camera"
SOURCES = {ZIP: "A zip", FILES: "Picture files", CAMERA: "Camera"}
PATIENCE_S = 1.0  # a small upload is checked without showing progress
LOOK_S = 1.0  # from one look at the progress to the next


@dataclass
class Draft:
    """Pictures that were added and are not kept yet."""

    classes: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    open: own.Open | None = None  # what is checked
    label: str = ""  # of it, for messages
    fit: str = ""  # with which it was checked
    checked: own.Checked | None = None
    task: Task | None = None  # that checks or keeps
    problem: str = ""
    widgets: int = 0  # part of the keys of upload widgets: another number empties them


def draft() -> Draft:
    return st.session_state.setdefault("own_draft", Draft())


def settle() -> Path | None:
    """Take the result of a task that has ended; the folder of a set that was just kept, or None."""
    now = draft()
    if now.task is None or now.task.running:
        return None
    task, now.task = now.task, None
    now.problem = task.error
    if task.error and not now.checked:
        now.open = None  # it holds the whole upload
    if isinstance(task.result, own.Checked):
        now.checked = task.result
    elif isinstance(task.result, Path):
        st.session_state["own_draft"] = Draft(widgets=now.widgets + 1)
        st.toast(f"Saved as {task.result.name}.")
        return task.result
    return None


def add_pictures() -> None:
    """What comes next for the pictures: inputs, progress, or the preview."""
    now = draft()
    fit = st.session_state["fit"]
    if now.task is None and now.checked and now.fit != fit:
        check()
        settle()
    if now.task:
        refresh.repeat(_look, LOOK_S)()
        return
    if now.problem:
        st.error(markdown(plain(ValueError(now.problem))))
    if now.checked:
        _preview(now)
        return
    st.segmented_control(
        "Add them from",
        list(SOURCES),
        key="own_source",
        default=ZIP,
        required=True,
        format_func=SOURCES.get,
        persist_state="session",
    )
    {ZIP: _zip, FILES: _files, CAMERA: _camera}[st.session_state["own_source"]](now)
    if st.session_state["own_source"] != ZIP:
        _classes(now)


def _zip(now: Draft) -> None:
    file = st.file_uploader(
        f"Zip with a folder of pictures for each class, up to {MAX_MB} MB",
        key=f"own_zip_{now.widgets}",
        max_upload_size=MAX_MB,
        help="For a larger zip, or one already on this computer, choose Path to a folder or "
        "zip above.",
    )
    if file is None:
        return
    now.widgets += 1
    now.problem = ""
    try:
        now.open, now.label = own.open_zip(file.getvalue(), file.name), file.name
    except DataError as error:
        now.problem = str(error)
    else:
        check()
    st.rerun()


def _class_input() -> str:
    st.text_input(
        "Class",
        key="own_class",
        max_chars=own.MAX_CLASS_CHARS,
        placeholder="What these pictures show, such as cat",
    )
    return st.session_state["own_class"].strip()


def _files(now: Draft) -> None:
    title = _class_input()
    files = st.file_uploader(
        f"Pictures of this class ({formats.TITLE}), up to {MAX_MB} MB for all classes",
        accept_multiple_files=True,
        key=f"own_files_{now.widgets}",
        max_upload_size=MAX_MB,
    )
    count = f"{len(files):,} picture{'' if len(files) == 1 else 's'}" if files else "pictures"
    st.button(
        f"Add {count} to {markdown(title)}" if title else f"Add {count}",
        key="own_add",
        disabled=not (title and files),
        on_click=_add_files,
    )


def _add_files() -> None:
    # A second click may arrive before the widgets are drawn anew: nothing is left to add then.
    files = st.session_state.get(f"own_files_{draft().widgets}", [])
    if not files:
        return
    _add([(file.name, file.getvalue()) for file in files])


def _camera(now: Draft) -> None:
    if not _class_input():
        st.caption("Name the class; then each click takes one picture of it.")
        return
    st.camera_input(
        "Each click takes one picture",
        key=f"own_photo_{now.widgets}",
        width=480,
        on_change=_add_photo,
    )


def _add_photo() -> None:
    if photo := st.session_state.get(f"own_photo_{draft().widgets}"):
        _add([("photo.jpg", photo.getvalue())])


def _add(pictures: list[tuple[str, bytes]]) -> None:
    """Add pictures to the class that is typed; a refusal becomes a message."""
    now, title = draft(), st.session_state["own_class"].strip()
    more = {**now.classes, title: [*now.classes.get(title, []), *pictures]}
    now.problem = ""
    try:
        own.open_files(more)  # checks names and sizes
    except DataError as error:
        now.problem = str(error)
    else:
        now.classes = more
        now.widgets += 1


def _classes(now: Draft) -> None:
    """The classes so far, and the button that checks them."""
    for number, (title, pictures) in enumerate(now.classes.items()):
        with st.container(horizontal=True, vertical_alignment="center", key=f"own_row_{number}"):
            st.write(f"**{markdown(title)}**: {len(pictures):,}")
            st.button(
                "Remove",
                key=f"own_remove_{title}",  # a second click must not meet the next class
                type="tertiary",
                on_click=_remove,
                args=(title,),
            )
    if now.classes:
        st.button(
            "Check these pictures",
            key="own_check",
            type="primary",
            disabled=len(now.classes) < 2,
            on_click=_check_classes,
        )
    if len(now.classes) == 1:
        st.caption("Two or more classes are needed. Type the next class above.")


def _remove(title: str) -> None:
    draft().classes.pop(title, None)


def _check_classes() -> None:
    now = draft()
    if now.task:  # a double click
        return
    now.open, now.label = own.open_files(now.classes), "my-pictures"
    check()


def check() -> None:
    """Decode the pictures in the background; `settle` takes the result."""
    now = draft()
    now.fit, now.checked, now.problem = st.session_state["fit"], None, ""
    now.task = Task(partial(own.check, now.open, now.label, now.fit), "check-own")
    now.task.join(PATIENCE_S)


def _look() -> None:
    """Progress of the task, with a button to cancel it; reruns the page at its end."""
    task = draft().task
    if task is None or not task.running:
        st.rerun()
    now = task.progress
    st.progress(now.fraction if now else 0.0, now.describe() if now else "Starting…")
    st.button("Cancel", key="own_cancel", on_click=task.cancel)


def _preview(now: Draft) -> None:
    """What was found, and whether to use it."""
    found(readings.describe(now.checked.data), now.fit, "own_preview")
    form = st.session_state
    if not form.get("own_name"):
        form["own_name"] = _suggest_name(now.label)
    st.text_input("Name of this data set", key="own_name", max_chars=80)
    with st.container(horizontal=True):
        st.button("Use these", key="own_use", type="primary", on_click=_use)
        st.button("Discard", key="own_discard", on_click=_discard)


def _suggest_name(label: str) -> str:
    """A name that no set has, from that of the upload."""
    base = re.sub(r"[^A-Za-z0-9._+-]+", "-", Path(label).stem).strip("._+-")[:60] or "my-pictures"
    taken = {path.name.lower() for path in own.list_sets(folders.DATA_ROOT)}
    names = [base, *(f"{base}-{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name.lower() not in taken)


def _use() -> None:
    now, name = draft(), st.session_state["own_name"].strip()
    if now.task or not now.checked:  # a double click
        return
    now.problem = ""
    now.task = Task(partial(own.keep, now.checked, folders.DATA_ROOT, name), "keep-own")
    now.task.join(PATIENCE_S)


def _discard() -> None:
    st.session_state["own_draft"] = Draft(widgets=draft().widgets + 1)
