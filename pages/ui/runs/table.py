"""The filtered table of runs, and its selection."""

from __future__ import annotations

import zlib

import pandas as pd
import streamlit as st

from pages.ui import tables


def table(pairs: list) -> list[str]:
    """The filtered table; the names of its selected rows."""
    everything = tables.run_table(pairs)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Filter",
            key="filter",
            placeholder="for example resnet finished",
            width=320,
            persist_state="session",
        )
        differs = st.toggle("Only what differs", key="differs", persist_state="session")
    shown = matching(everything, words)
    if shown.empty:
        st.info("No run matches the filter.")
        return hidden_selection(pairs, [])
    columns = tables.only_differing(shown) if differs else list(shown)
    names = list(shown["Run"])
    chosen = [name for name in st.session_state.get("chosen_runs", []) if name in names]
    event = st.dataframe(
        shown,
        # A selection is a list of row numbers: with other rows it would be of other runs.
        key=f"runs_table_{zlib.crc32('/'.join(names).encode())}",
        selection_default={"selection": {"rows": [names.index(name) for name in chosen]}},
        hide_index=True,
        column_order=columns,
        placeholder="–",
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "Final": st.column_config.NumberColumn(
                format="percent", help="After the last finished epoch"
            ),
            "Best": st.column_config.NumberColumn(
                format="percent", help="Of all epochs; optimistic when chosen on test images"
            ),
            "Parameters": st.column_config.NumberColumn(format="compact"),
            "Seconds": st.column_config.NumberColumn("Time (s)", format="%.0f"),
        },
    )
    st.download_button(
        "Download table as CSV",
        data=lambda: tables.to_csv(shown[columns]),
        file_name="runs.csv",
        mime="text/csv",
        on_click="ignore",
        key="csv",
    )
    st.caption("Select rows to compare their curves.")
    visible = [names[i] for i in event.selection.rows if i < len(names)]
    st.session_state["chosen_runs"] = visible + hidden_selection(pairs, names)
    return st.session_state["chosen_runs"]


def hidden_selection(pairs: list, shown: list[str]) -> list[str]:
    """Selected runs that the filter hides, with a message and a button to deselect them."""
    hidden = {run.name for run, _ in pairs} - set(shown)
    kept = [name for name in st.session_state.get("chosen_runs", []) if name in hidden]
    if kept:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                f"Selected but hidden by the filter: {', '.join(kept[:5])}{'…' * (len(kept) > 5)}"
            )
            st.button("Deselect these", key="deselect", on_click=deselect, args=(kept,))
    return kept


def deselect(names: list[str]) -> None:
    st.session_state["chosen_runs"] = [
        name for name in st.session_state["chosen_runs"] if name not in names
    ]


def matching(rows: pd.DataFrame, words: str) -> pd.DataFrame:
    """Rows in which every word occurs, in any column and in any case."""
    texts = [" ".join(map(str, row)).lower() for row in rows.itertuples(index=False)]
    return rows[[all(word in text for word in words.lower().split()) for text in texts]]
