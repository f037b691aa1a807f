"""Every run: a table, overlaid curves, one run in detail."""

from __future__ import annotations

import zlib

import pandas as pd
import streamlit as st

from engine import runs
from engine.config import SETTINGS
from engine.errors import ConfigError, RunError
from engine.runs import compare
from engine.runs.run import Run, State, Status
from engine.settings import Role
from pages.ui import charts, choices, frame, live, process, readings, refresh, tables
from pages.ui.text import command, duration, percent

MAX_OVERLAID = 20


def page() -> None:
    frame.start_page("Runs")
    pairs = readings.statuses()
    refresh.rerun_on_change(refresh.states_and_epochs, pairs)
    if not pairs:
        st.info("No runs yet. Train a first network: it takes about a minute.")
        st.page_link("pages/1_Train.py", label="Train a network")
        return
    chosen = table(pairs)
    if chosen:
        comparison([run for run, _ in pairs if run.name in chosen])
    details([run.name for run, _ in pairs], chosen)


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
        # Streamlit keeps the numbers of selected rows: with other rows, they would be other runs.
        key=f"runs_table_{zlib.crc32('/'.join(names).encode())}",
        selection_default={"selection": {"rows": [names.index(name) for name in chosen]}},
        hide_index=True,
        column_order=columns,
        placeholder="–",
        on_select="rerun",
        selection_mode="multi-row",
        column_config={
            "Final": st.column_config.NumberColumn(format="percent", help="After the newest epoch"),
            "Best": st.column_config.NumberColumn(
                format="percent", help="Of all epochs; too high when measured on test images"
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
    """The selected runs that the filter hides, which is said."""
    hidden = {run.name for run, _ in pairs} - set(shown)
    kept = [name for name in st.session_state.get("chosen_runs", []) if name in hidden]
    if kept:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(
                f"Selected, but hidden by the filter: {', '.join(kept[:5])}{'…' * (len(kept) > 5)}"
            )
            st.button("Deselect these", key="deselect", on_click=deselect, args=(kept,))
    return kept


def deselect(names: list[str]) -> None:
    st.session_state["chosen_runs"] = [
        name for name in st.session_state["chosen_runs"] if name not in names
    ]


def matching(rows: pd.DataFrame, words: str) -> pd.DataFrame:
    """Those in which each of the words stands somewhere."""
    texts = [" ".join(map(str, row)).lower() for row in rows.itertuples(index=False)]
    return rows[[all(word in text for word in words.lower().split()) for text in texts]]


def comparison(selected: list[Run]) -> None:
    st.subheader("Compare", anchor=False)
    configs = {run.name: config for run in selected if (config := readings.config_of(run))}
    if len(configs) > MAX_OVERLAID:
        st.info(f"The first {MAX_OVERLAID} of {len(configs)} selected runs are drawn.")
        configs = dict(list(configs.items())[:MAX_OVERLAID])
    differ = compare.differing(list(configs.values()))
    names = ", ".join(SETTINGS[path].label for path in differ)
    if any(SETTINGS[path].role is Role.VALIDATION for path in differ):
        st.warning("These runs were measured on different images: accuracies are not comparable.")
    elif len(differ) == 1:
        st.caption(f"These runs differ in one thing: {names}.")
    if len(differ) > 1:
        st.warning(
            f"These runs differ in {len(differ)} things ({names}): a difference in accuracy "
            "cannot be put down to any one of them."
        )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        measure = st.segmented_control(
            "Measure",
            ["accuracy", "loss"],
            default="accuracy",
            key="measure",
            required=True,
            format_func=str.capitalize,
            persist_state="session",
        )
        split = st.segmented_control(
            "Images",
            ["validation", "train", "both"],
            default="validation",
            key="split",
            required=True,
            format_func=str.capitalize,
            persist_state="session",
        )
        together = st.toggle(
            "Seeds as mean and band", value=True, key="by_seed", persist_state="session"
        )
        log = st.toggle("Logarithmic", key="log_compare", persist_state="session")
    epochs = {run.name: readings.epochs(run) for run in selected if run.name in configs}
    begun = {name: config for name, config in configs.items() if epochs[name]}
    groups = compare.seed_groups(begun) if together else [[name] for name in begun]
    labels = {group_label(group): group for group in groups}
    splits = ("validation", "train") if split == "both" else (split,)
    rows = charts.overlay_rows(
        {label: [epochs[name] for name in group] for label, group in labels.items()},
        measure,
        splits,
    )
    if rows.empty:
        st.info("None of these runs has finished an epoch yet.")
        return
    with st.container(key="compare_chart"):
        spec = charts.overlay_spec(rows, measure, tuple(labels), log)
        st.vega_lite_chart(rows, spec, alt=f"{measure} of the selected runs by epoch")
    summary(labels, epochs, {run.name: run.status() for run in selected})


def group_label(group: list[str]) -> str:
    return group[0] if len(group) == 1 else f"{group[0]} and seeds (n = {len(group)})"


def summary(
    labels: dict[str, list[str]], epochs: dict[str, list[dict]], statuses: dict[str, Status]
) -> None:
    """Final accuracy of each group: mean and spread where there are several seeds.

    Of runs that have not come to their end only where none of the group has, and so marked.
    """
    rows = []
    for label, group in labels.items():
        ended = [name for name in group if statuses[name].state is State.FINISHED]
        shown = ended or group
        final = 100 * pd.Series([statuses[n].final_acc for n in shown], dtype=float).dropna()
        if final.empty:
            continue
        spread = f" ± {final.std():.2f}" if len(final) > 1 else ""
        row = {"Runs": label, "n": len(final), "Final": f"{final.mean():.2f}{spread} %"}
        if not ended:
            last = sorted({epochs[name][-1]["epoch"] for name in shown})
            after = f"epochs {last[0]} to {last[-1]}" if len(last) > 1 else f"epoch {last[0]}"
            row["After"] = f"{after} of {statuses[shown[0]].epochs}, not finished"
        elif len(ended) < len(group):
            row["After"] = f"without {len(group) - len(ended)} not finished"
        rows.append(row)
    if rows:
        st.dataframe(pd.DataFrame(rows).fillna(""), hide_index=True, width="content")


def details(names: list[str], chosen: list[str]) -> None:
    st.subheader("One run", anchor=False)
    if len(chosen) != 1:
        st.session_state["opened_from_table"] = None
    elif st.session_state.get("opened_from_table") != chosen[0]:
        st.session_state["opened_from_table"] = chosen[0]
        st.session_state["run"] = chosen[0]
    name = st.selectbox(
        "Run",
        names,
        index=None,
        key="run",
        bind="query-params",
        placeholder="Choose a run, or select one row above",
    )
    run = readings.find_run(name)
    if run is None:
        return
    live.panel(run)
    actions(run)
    note(run)
    config = readings.config_of(run)
    if config:
        with st.expander("Configuration"):
            st.code(command(config, run.name), language="bash", wrap_lines=True)
            st.json(config.to_dict(), expanded=1)
    with st.expander("Log"):
        st.code(run.log()[-20_000:] or "Nothing was logged yet.", language=None, wrap_lines=True)


def actions(run: Run) -> None:
    status = run.status()
    config = readings.config_of(run)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if config and st.button("Use these choices in Train", key="clone"):
            st.switch_page("pages/1_Train.py", query_params={"choices": choices.encode(config)})
        downloads(run)
        if status.state is State.RUNNING:
            st.caption("A run can be renamed or deleted once it has ended.")
            return
        with st.popover("Rename"):
            key = f"new_name_{run.name}"
            st.text_input("New name", value=run.name, key=key, max_chars=80)
            st.button("Rename", key="rename", on_click=rename, args=(run, key))
        with st.popover("Delete", key=f"delete_{run.name}"):  # closed for the next run
            st.write(
                f"**{run.name}**: {percent(status.final_acc)} after "
                f"{duration(status.seconds)} of training. Its weights and records cannot be "
                "brought back."
            )
            st.button("Delete for good", key="delete_for_good", on_click=delete, args=(run,))
    if problem := st.session_state.pop("run_problem", None):
        st.error(problem)


def downloads(run: Run) -> None:
    for label, file in (("weights", "last.safetensors"), ("config", "config.json")):
        path = run.path / file
        if path.exists():
            st.download_button(
                f"Download {label}",
                data=path.read_bytes,
                file_name=f"{run.name}-{file}",
                on_click="ignore",
                key=f"download_{label}",
            )


def note(run: Run) -> None:
    key = f"note_{run.name}"
    st.text_area(
        "Note",
        value=run.note(),
        key=key,
        height=80,
        max_chars=10_000,
        on_change=lambda: run.set_note(st.session_state[key]),
        placeholder="What you wanted to find out, and what you saw",
    )


def rename(run: Run, key: str) -> None:
    try:
        renamed = runs.rename(run, st.session_state[key].strip())
    except (ConfigError, RunError, OSError) as error:
        st.session_state["run_problem"] = str(error)
    else:
        st.session_state["run"] = renamed.name


def delete(run: Run) -> None:
    try:
        if run.status().state is State.QUEUED:
            process.worker().cancel(run)
        runs.delete(run)
    except RunError as error:
        st.session_state["run_problem"] = str(error)
    except OSError:
        st.session_state["run_problem"] = "It could not be deleted: a file of it is in use."
    else:
        st.session_state["run"] = None


page()
