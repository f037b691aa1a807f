"""Overlaid curves of the selected runs, the settings they differ in, and final accuracies."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from engine.config import SETTINGS, RunConfig
from engine.runs import compare
from engine.runs.run import Run, State, Status
from engine.settings import Role
from pages.ui import charts, history, readings

MAX_OVERLAID = 20


def comparison(selected: list[Run]) -> None:
    """The selected runs' curves in one chart, of each group of seeds or of each run."""
    st.subheader("Compare", anchor=False)
    configs = {run.name: config for run in selected if (config := readings.config_of(run))}
    if len(configs) > MAX_OVERLAID:
        st.info(f"Showing the first {MAX_OVERLAID} of {len(configs)} selected runs.")
        configs = dict(list(configs.items())[:MAX_OVERLAID])
    infos = {run.name: readings.dataset_info(run) for run in selected if run.name in configs}
    differences(configs, infos)
    measure, splits, together, log = chart_options()
    epochs = {run.name: history.epochs(run) for run in selected if run.name in configs}
    begun = {name: config for name, config in configs.items() if epochs[name]}
    groups = compare.seed_groups(begun, infos) if together else [[name] for name in begun]
    labels = {group_label(group): group for group in groups}
    rows = charts.overlay_rows(
        {label: [epochs[name] for name in group] for label, group in labels.items()},
        measure,
        splits,
    )
    if rows.empty:
        st.info("Nothing to draw: no selected run has finished an epoch.")
        return
    with st.container(key="compare_chart"):
        spec = charts.overlay_spec(rows, measure, tuple(labels), log)
        st.vega_lite_chart(rows, spec, alt=f"{measure} of the selected runs by epoch")
    summary(labels, epochs, {run.name: readings.status_of(run) or Status() for run in selected})


def differences(configs: dict[str, RunConfig], infos: dict[str, compare.Info]) -> None:
    """What the runs differ in, with a warning where accuracies cannot be compared for it."""
    differ = compare.differing(list(configs.values()), [infos[name] for name in configs])
    names = ", ".join(SETTINGS[path].label for path in differ)
    if any(SETTINGS[path].role is Role.VALIDATION for path in differ):
        st.warning("These runs were measured on different images: accuracies are not comparable.")
    elif len(differ) == 1:
        st.caption(f"These runs differ in one setting: {names}.")
    if len(differ) > 1:
        st.warning(
            f"These runs differ in {len(differ)} settings ({names}): a difference in accuracy "
            "cannot be attributed to any one of them."
        )


def chart_options() -> tuple[str, tuple[str, ...], bool, bool]:
    """(measure, splits, whether seeds are drawn as mean and band, whether the axis is log)."""
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
            "Mean and band over seeds", value=True, key="by_seed", persist_state="session"
        )
        log = st.toggle("Logarithmic", key="log_compare", persist_state="session")
    return measure, ("validation", "train") if split == "both" else (split,), together, log


def group_label(group: list[str]) -> str:
    """The first run's name, and the number of seeds if there are several."""
    return group[0] if len(group) == 1 else f"{group[0]} and seeds (n = {len(group)})"


def summary(
    labels: dict[str, list[str]], epochs: dict[str, list[dict]], statuses: dict[str, Status]
) -> None:
    """Final accuracy of each group: mean ± standard deviation where there are several seeds.

    Unfinished runs count only where the group has no finished one, and are marked.
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
            row["After"] = f"excluding {len(group) - len(ended)} not finished"
        rows.append(row)
    if rows:
        st.dataframe(pd.DataFrame(rows).fillna(""), hide_index=True, width="content")
    if len(rows) > 1 and all(row["n"] == 1 for row in rows):
        st.caption(
            "One training each: the difference may be chance. Inspect, *Two networks*, tests these "
            "two networks on the same images; a study repeats the trainings with several seeds."
        )
