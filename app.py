"""Home: an introduction, the latest runs, the data sets, and the other pages."""

from __future__ import annotations

import shutil
import subprocess
import textwrap

import streamlit as st

from engine import data
from engine.data import background
from engine.device import resolve
from engine.runs.run import State
from engine.runs.validation import seen_clause
from pages.ui import folders, frame, home, live, process, readings, refresh
from pages.ui.scenes import SCENES
from pages.ui.text import called, markdown, percent, time_left, without_flags

LATEST = 5
NEXT = 2  # queued runs that are listed
CARDS = (  # page, label, icon, text
    (
        "pages/4_Augmentations.py", "See augmentations", "auto_awesome",
        "How training crops, flips, erases and mixes images, tried on an image of yours.",
    ),
    (
        "pages/3_Studies.py", "Ask a question", "science",
        "Which architecture? Deeper or wider? Which norm? Get an answer with its uncertainty.",
    ),
    (
        "pages/6_Inspect.py", "Look inside a network", "troubleshoot",
        "Where it errs, how sure it is, and what it looks at.",
    ),
    (
        "pages/1_Train.py", "Bring your own pictures", "add_photo_alternate",
        "Upload a zip, pick files or take photos, and teach a network to tell your classes apart.",
    ),
)  # fmt: skip
FETCHED = ("cifar10", "cifar100")


def page() -> None:
    frame.start_page("CIFAR-10 playground")
    if st.session_state.pop("open_train", False):
        st.switch_page("pages/1_Train.py")
    st.markdown(
        "See how a convolutional network learns to classify small images: train one here, watch "
        "it, and find out which choice matters."
    )
    statuses = readings.statuses()
    first_button(statuses)
    cards()
    if statuses:
        left, right = st.columns([3, 2], gap="large")
        with left:
            latest_runs(statuses)
    else:
        right = st.container()
    with right:
        data_sets()
        machine()
    refresh.rerun_on_change(refresh.states, statuses)


def first_button(statuses: list) -> None:
    """One click to a moving curve; then, to the form."""
    icon = ":material/play_arrow:"
    if statuses:
        if st.button("Train a network", key="train", type="primary", icon=icon):
            st.switch_page("pages/1_Train.py")
        return
    st.button(
        f"Train your first network ({process.first_training()})",
        key="train_first",
        type="primary",
        icon=icon,
        on_click=home.start_first,
        help="A small network on the built-in shapes, with the preset Minute.",
    )


def cards() -> None:
    """What else there is to do, each with one way there."""
    with st.container(key="cards"):
        first, *columns = st.columns(3)
        with first, st.container(border=True, height="stretch"):
            st.page_link(
                "pages/5_Classify.py",
                label="**Classify a picture**",
                icon=":material/image_search:",
            )
            sample()
        for number, (target, label, icon, text) in enumerate(CARDS):
            with columns[number % 2], st.container(border=True, height="stretch"):
                query = {"images": "own"} if icon == "add_photo_alternate" else None
                st.page_link(
                    target, label=f"**{label}**", icon=f":material/{icon}:", query_params=query
                )
                st.caption(text)


def sample() -> None:
    """A drawn picture with the shipped network's answer to it."""
    answer = home.sample_answer()
    if answer is None:
        st.caption("Try a trained network on your own pictures.")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.image(SCENES[home.SCENE](), width=112, alt=f"a drawing: {home.SCENE}")
        lines = [f"{name} {100 * share:.0f} %" for name, share in answer]
        st.caption("  \n".join(lines))
    st.caption("The answer of a trained network to a drawing. Try it on a picture of yours.")


def latest_runs(statuses: list) -> None:
    st.subheader("Latest runs", anchor=False)
    live_ones = [run for run, status in statuses if status.state in readings.LIVE]
    queued = [(s.queued, run.name) for run, s in statuses if s.state is State.QUEUED]
    later = {name for _, name in sorted(queued)[NEXT:]}  # a study queues dozens
    shown = [run for run in live_ones if run.name not in later]
    rest = [run for run, _ in statuses if run not in live_ones][:LATEST]
    refresh.repeat(run_lines, live.TICK_S if live_ones else None)(shown + rest)
    more = f" ({len(later)} more queued)" if later else ""
    st.page_link("pages/2_Runs.py", label=f"All runs{more}")


def run_lines(shown: list) -> None:
    for run in shown:
        status = readings.status_of(run)
        if status is None:
            continue
        row = st.container(key=f"run_row_{run.name}", horizontal=True, vertical_alignment="center")
        with row:
            st.badge(status.state.value, color=live.COLORS.get(status.state, "orange"))
            target = "pages/1_Train.py" if status.state in readings.LIVE else "pages/2_Runs.py"
            st.page_link(target, label=markdown(called(run)), query_params={"run": run.name})
            if curve := home.sparkline(run):
                st.markdown(curve, width="content")
            if status.state is State.RUNNING and status.steps:
                left = f", {time_left(status)}" if status.eta_seconds is not None else ""
                st.caption(f"epoch {status.epoch} of {status.epochs}{left}")
            elif status.state is State.DAMAGED:
                st.caption("one of its files cannot be read")
            elif status.state is State.FAILED:
                reason = without_flags(status.message)
                st.caption(markdown(textwrap.shorten(reason, 160, placeholder=" …")))
            elif status.final_acc is not None:
                on = "test" if status.val_is_test else "held-out"
                seen = seen_clause(status.val_seen)
                st.caption(f"{percent(status.final_acc)} on {on} images{seen}")


def machine() -> None:
    st.caption(f"Training uses the {process.compute_text()}.")
    if resolve().device.type == "cpu" and has_nvidia_gpu():
        st.warning(
            "This machine has an NVIDIA GPU, but the installed PyTorch cannot use it. Install the "
            "CUDA build that matches your driver (see pytorch.org), then restart the app."
        )


@st.cache_data(show_spinner=False)
def has_nvidia_gpu() -> bool:
    """Whether nvidia-smi, which is part of the driver, lists a GPU."""
    tool = shutil.which("nvidia-smi")
    if not tool:
        return False
    try:
        listed = subprocess.run(
            [tool, "-L"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "GPU" in listed.stdout


def data_sets() -> None:
    st.subheader("Data", anchor=False)
    fetching, absent = False, []
    for name, spec in data.DATASETS.items():
        fetch = background.current(name, folders.DATA_ROOT)
        here = name not in FETCHED or data.is_available(name, folders.DATA_ROOT)
        row = st.container(key=f"data_row_{name}", horizontal=True, vertical_alignment="center")
        with row:
            st.badge("ready" if here else "not downloaded", color="green" if here else "gray")
            st.write(f"**{spec.title}**")
            if not here:
                absent.append(name)
            if not here and not (fetch and fetch.running):
                again = "Try again" if fetch else f"Download ({spec.download_mb} MB)"
                st.button(again, key=f"download_{name}", on_click=download, args=(name,))
            if fetch and fetch.running:
                fetching = True
                st.button("Cancel", key=f"cancel_download_{name}", on_click=fetch.cancel)
        if fetch and fetch.running:
            refresh.repeat(download_progress, 1.0)(name)
        elif fetch and fetch.error and not here:
            st.warning(markdown(without_flags(fetch.error)))
    if absent and not fetching:
        with st.expander("Use a mirror", key="mirror"):
            for name in absent:
                st.text_input(
                    f"URL of {data.DATASETS[name].title}",
                    key=f"mirror_{name}",
                    placeholder=f"https://…/{name.replace('cifar', 'cifar-')}-python.tar.gz",
                    help="The file is accepted only if its checksum matches the official one.",
                    persist_state="session",
                )
        st.caption(
            "The official server can be slow (up to an hour for 170 MB). The built-in shapes and "
            "your own images need no download."
        )


def download(name: str) -> None:
    mirror = st.session_state.get(f"mirror_{name}", "").strip()
    background.start(name, folders.DATA_ROOT, mirror or None)


def download_progress(name: str) -> None:
    fetch = background.current(name, folders.DATA_ROOT)
    if fetch is None or not fetch.running:
        st.rerun()
    now = fetch.progress
    if now is None:
        st.progress(0.0, "Starting…")
        return
    st.progress(now.fraction, now.describe())


page()
