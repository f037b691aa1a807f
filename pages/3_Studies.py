"""Ask a question: plan its runs for the time there is, watch them, read the verdict."""

from __future__ import annotations

import streamlit as st

from engine.errors import ConfigError
from pages.ui import frame
from pages.ui.studies import opened
from pages.ui.studies.chooser import chooser
from pages.ui.studies.draft import draft_form, open_draft
from pages.ui.studies.own import take_link
from pages.ui.studies.view import study_page
from pages.ui.text import markdown


def page() -> None:
    frame.start_page("Studies")
    address = st.query_params.to_dict()
    with frame.entering() as entered:
        if entered:
            take_link(address)
            if plan := address.get("plan"):
                take_plan(plan)
    if st.session_state.pop("just_opened", False):
        frame.scroll_up()
    if name := address.get("study"):
        study_page(name)
    elif draft := st.session_state.get("draft"):
        draft_form(draft)
    else:
        chooser()


def take_plan(text: str) -> None:
    """Open the draft that a link holds."""
    try:
        open_draft(opened.decode(text), planned=True)
    except ConfigError as error:
        st.warning(markdown(f"The link's study was left out. {error}"))


page()
