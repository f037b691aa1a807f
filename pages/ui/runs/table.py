"""The table of runs: filter, order, columns, and the ticked rows, all kept in the link."""

from __future__ import annotations

import zlib

import pandas as pd
import streamlit as st

from engine.config import SETTINGS
from engine.runs.run import Run, Status
from pages.ui import frame, tables, undo
from pages.ui.text import markdown, without_flags

TICKED = "ticked"  # in the address: names of runs, separated by commas
LINKED = 50  # ticked runs that an address can hold
ORDERS = {  # title, column, whether it ascends
    "newest": ("Newest first", None, False),
    "final": ("Final accuracy", "Final", False),
    "name": ("Name", "Run", True),
    "time": ("Training time", "Time (s)", True),
    "parameters": ("Parameters", "Parameters", True),
}
SETTING_HELP = {
    s.label: f"{s.help[0].upper()}{without_flags(s.help[1:])}." for s in SETTINGS.values()
}


def table(pairs: list[tuple[Run, Status]]) -> list[str]:
    """The filtered table and what can be done with its ticked rows; the names of these."""
    form, known = st.session_state, {run.name for run, _ in pairs}
    asked = st.query_params.get(TICKED, "")
    with frame.entering() as entered:
        if entered and asked:
            form["chosen_runs"] = [name for name in asked.split(",")[:LINKED] if name in known]
    ticked = [name for name in form.get("chosen_runs", []) if name in known]
    words, order, columns, differs = options()
    more = [label for label in columns if label in tables.OPTIONAL]
    if differs:
        compared = [run for run, _ in pairs if not ticked or run.name in ticked]
        more = tables.differing_labels(compared)
    everything = tables.run_table(pairs, more)
    shown = in_order(matching(everything, words), order)
    if shown.empty:
        st.info("No run matches the filter.")
        chosen = hidden_selection(ticked, [])
    else:
        wanted = tables.only_differing(everything, ticked) if differs else [*columns]
        titled = any(shown["Title"])
        visible = [c for c in shown if c == "Run" or (c in wanted and (titled or c != "Title"))]
        names = list(shown["Run"])
        chosen = selected(shown, visible, [name for name in ticked if name in names])
        chosen += hidden_selection(ticked, names)
    form["chosen_runs"] = chosen
    remember(chosen)
    with st.container(key="table_actions", horizontal=True, vertical_alignment="center"):
        delete_button([run for run, _ in pairs if run.name in chosen])
        st.download_button(
            "Download table as CSV",
            data=lambda: tables.to_csv(shown),
            file_name="runs.csv",
            mime="text/csv",
            on_click="ignore",
            key="csv",
        )
        undo.bin_contents()
        if not chosen:
            st.caption("Tick rows to compare their curves.")
    return chosen


def options() -> tuple[str, str, list[str], bool]:
    """(filter, order, columns, whether only differing columns are shown)."""
    kept = {"persist_state": "session", "bind": "query-params"}
    with st.container(key="table_options", horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Filter", key="filter", placeholder="for example resnet finished", width=260, **kept
        )
        order = st.selectbox(
            "Order",
            list(ORDERS),
            key="order",
            format_func=lambda key: ORDERS[key][0],
            width=170,
            **kept,
        )
        with st.popover("Columns", key="columns_popover", icon=":material/view_column:"):
            columns = st.multiselect(
                "Columns",
                [c for c in all_columns() if c != "Run"],
                default=[c for c in tables.USUAL if c != "Run"],
                key="columns",
                help="Your choice is part of the page's address, so a copied link shows the "
                "same columns.",
                **kept,
            )
        differs = st.toggle(
            "Only what differs",
            key="differs",
            help="Show the results and only those settings in which the ticked runs differ. "
            "With no run ticked: in which all runs differ.",
            **kept,
        )
    return words, order, columns, differs


def all_columns() -> list[str]:
    """Every column that can be chosen."""
    results = ("Run", "Title", "State", "Final", "Best", "Measured on", "Test")
    after = ("Time (s)", "Parameters", "Created", "Note")
    own = tables.setting_cells(None)
    return [*results, *own, *tables.OPTIONAL, *after]


def selected(shown: pd.DataFrame, columns: list[str], ticked: list[str]) -> list[str]:
    """Draw the table; the names of its ticked rows."""
    names = list(shown["Run"])
    percent = {name: 100 * shown[name].astype(float) for name in tables.ACCURACIES}
    event = st.dataframe(
        shown.assign(**percent)[columns],
        # A selection is a list of row numbers: with other rows it would be of other runs.
        key=f"runs_table_{zlib.crc32('/'.join(names).encode())}",
        selection_default={"selection": {"rows": [names.index(name) for name in ticked]}},
        hide_index=True,
        placeholder="–",
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            **{
                label: st.column_config.Column(help=SETTING_HELP[label])
                for label in columns
                if label in SETTING_HELP
            },
            "Run": st.column_config.TextColumn(width=230, pinned=True),
            "Title": st.column_config.TextColumn(width=180),
            "Final": st.column_config.NumberColumn(
                format="%.2f %%", width=90, help="After the last epoch; empty until then"
            ),
            "Best": st.column_config.NumberColumn(
                format="%.2f %%",
                width=90,
                help="Of all epochs; optimistic when chosen on test images",
            ),
            "Measured on": st.column_config.TextColumn(
                help="The images of Final and Best: test images, or held-out training images"
            ),
            "Test": st.column_config.NumberColumn(
                format="%.2f %%", width=90, help="On the test images, after the last epoch"
            ),
            "Parameters": st.column_config.NumberColumn(format="compact", width=100),
            "Time (s)": st.column_config.NumberColumn(format="%.0f", width=90),
            "Created": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm", width=140),
        },
    )
    return [names[i] for i in event.selection.rows if i < len(names)]


def remember(ticked: list[str]) -> None:
    """Write the ticked runs into the address, if it can hold them."""
    text = ",".join(ticked) if len(ticked) <= LINKED else ""
    if text != st.query_params.get(TICKED, ""):
        if text:
            st.query_params[TICKED] = text
        else:
            del st.query_params[TICKED]


def delete_button(runs: list[Run]) -> None:
    """Delete the ticked runs, after a confirmation; it can be undone."""
    if problem := st.session_state.pop("delete_problem", None):
        st.error(markdown(problem))
    if not runs:
        return
    many = f"{len(runs)} runs" if len(runs) > 1 else runs[0].name
    with st.popover("Delete ticked", key=f"delete_ticked_{len(runs)}", icon=":material/delete:"):
        listed = ", ".join(run.name for run in runs[:10]) + ", …" * (len(runs) > 10)
        st.write(f"Delete **{markdown(many)}**? You can undo this for 24 hours.")
        if len(runs) > 1:
            st.caption(markdown(listed))
        st.button("Delete", key="delete_many", on_click=delete, args=(runs,))


def delete(runs: list[Run]) -> None:
    """Delete runs; those that are in use stay, with a message."""
    if refused := undo.delete(runs):
        st.session_state["delete_problem"] = " ".join(f"{text}." for text in refused)


def hidden_selection(ticked: list[str], shown: list[str]) -> list[str]:
    """Ticked runs that the filter hides, with a message and a button to untick them."""
    kept = [name for name in ticked if name not in shown]
    if kept:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                f"Ticked but hidden by the filter: {', '.join(kept[:5])}{'…' * (len(kept) > 5)}"
            )
            st.button("Untick these", key="deselect", on_click=deselect, args=(kept,))
    return kept


def deselect(names: list[str]) -> None:
    st.session_state["chosen_runs"] = [
        name for name in st.session_state["chosen_runs"] if name not in names
    ]


def matching(rows: pd.DataFrame, words: str) -> pd.DataFrame:
    """Rows in which every word occurs, in any column and in any case."""
    texts = [" ".join(map(str, row)).lower() for row in rows.itertuples(index=False)]
    return rows[[all(word in text for word in words.lower().split()) for text in texts]]


def in_order(rows: pd.DataFrame, order: str) -> pd.DataFrame:
    """Rows in an order of ORDERS; they come with the newest first. Unknown values are last."""
    _, column, ascending = ORDERS[order]
    if column is None or rows.empty:
        return rows
    return rows.sort_values(column, ascending=ascending, kind="stable", na_position="last")
