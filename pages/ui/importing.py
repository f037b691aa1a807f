"""Waiting for an import of one's own images that goes on in the background."""

from __future__ import annotations

import streamlit as st

from pages.ui import readings, refresh


def await_import(dataset: str, fit: str, what: str) -> None:
    """Show the progress of the import, and rerun the page once it has ended.

    what: what appears then, for the sentence below the progress bar.
    """
    refresh.repeat(_look, refresh.INTERVAL_S)(dataset, fit, what)


def _look(dataset: str, fit: str, what: str) -> None:
    fetch = readings.pending_import(dataset, fit)
    if fetch is None:
        st.rerun()
    now = fetch.progress
    st.progress(now.fraction if now else 0.0, now.describe() if now else "Reading the images…")
    st.caption(f"{what} once the images have been read.")
