"""All runs: a table, overlaid curves, one run in detail."""

from __future__ import annotations

import streamlit as st

from pages.ui import frame, process, readings, refresh, undo
from pages.ui.runs.comparison import comparison
from pages.ui.runs.details import details
from pages.ui.runs.table import table


def page() -> None:
    frame.start_page("Runs")
    pairs = readings.statuses()
    refresh.rerun_on_change(refresh.states_and_epochs, pairs)
    undo.offer()
    if not pairs:
        undo.bin_contents()
        st.info(f"No runs yet. Train a first network: it takes {process.first_training()}.")
        st.page_link("pages/1_Train.py", label="Train a network")
        return
    with st.container(key="table"):
        chosen = table(pairs)
    with st.container(key="comparison"):
        if chosen:
            comparison([run for run, _ in pairs if run.name in chosen])
    with st.container(key="details"):
        details([run.name for run, _ in pairs], chosen)


page()
