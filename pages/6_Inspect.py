"""Look inside a trained network: where and why it errs, how sure it is, what it learned."""

from __future__ import annotations

import streamlit as st

from pages.ui import frame, process, readings, refresh, weights
from pages.ui.inspect import errors, history, learned, shift, sure, two, why
from pages.ui.inspect.subject import Subject, choose
from pages.ui.text import markdown, plain

SECTIONS = {
    "errors": ("Where it errs", errors.section),
    "sure": ("How sure it is", sure.section),
    "learned": ("What it learned", learned.section),
    "why": ("Why this answer", why.section),
    "two": ("Two networks", two.section),
    "shift": ("Corrupted images", shift.section),
    "history": ("Learning history", history.section),
}


def page() -> None:
    frame.start_page("Inspect")
    choices = weights.choices()
    if not choices:
        nothing_yet()
        return
    subject = choose(choices)
    if subject is None:
        return
    if "section" not in st.session_state and "section" not in st.query_params:
        st.session_state["section"] = "errors"  # no default: a click on a picture sets it, too
    name = st.segmented_control(
        "Section",
        list(SECTIONS),
        required=True,
        key="section",
        format_func=lambda key: SECTIONS[key][0],
        label_visibility="collapsed",
        bind="query-params",
        persist_state="session",
    )
    with st.container(key="inspect_section"):
        draw(subject, name or next(iter(SECTIONS)))  # a link may name a section that is not here


def draw(subject: Subject, name: str) -> None:
    """The open section; the others compute nothing."""
    try:
        SECTIONS[name][1](subject)
    except (ValueError, OSError) as error:
        st.error(markdown(plain(error)))


def nothing_yet() -> None:
    """Without any weights: say what to do, and rerun the page once there are some."""
    training = any(status.state in readings.LIVE for _, status in readings.statuses())
    if training:
        st.info("A network is training. You can inspect it here after its first checkpoint.")
    else:
        st.info(
            "There is no trained network here yet. Training a first one takes "
            f"{process.first_training()}."
        )
    st.page_link("pages/1_Train.py", label="Watch it train" if training else "Train a network")
    refresh.repeat(look_again, 3.0)()


def look_again() -> None:
    if weights.choices():
        st.rerun()


page()
