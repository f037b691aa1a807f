"""Overlaid curves of the selected runs, the settings they differ in, and final accuracies."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable

import pandas as pd
import streamlit as st

from engine import data
from engine.config import SETTINGS, RunConfig
from engine.runs import compare
from engine.runs.run import Run, State, Status
from engine.settings import Role
from pages.ui import history, readings
from pages.ui.axes import MEASURES
from pages.ui.charts import TRAIN, colors
from pages.ui.charts import validation as single_validation
from pages.ui.curves import costs_of, forward_macs, x_axis
from pages.ui.downloads import Chart, chart_downloads
from pages.ui.runs import charts
from pages.ui.text import markdown

MAX_OVERLAID = 20
LABEL_CHARS = 50  # of a label with a title


def comparison(selected: list[Run]) -> None:
    """The selected runs' curves in one chart, of each group of seeds or of each run."""
    st.subheader("Compare", anchor=False)
    configs = {run.name: config for run in selected if (config := readings.config_of(run))}
    if len(configs) > MAX_OVERLAID:
        st.info(f"Showing the first {MAX_OVERLAID} of {len(configs)} ticked runs.")
        configs = dict(list(configs.items())[:MAX_OVERLAID])
    runs = {run.name: run for run in selected if run.name in configs}
    infos = {name: readings.dataset_info(run) for name, run in runs.items()}
    statuses = {name: readings.status_of(run) or Status() for name, run in runs.items()}
    differences(configs, infos)
    on = validation(statuses.values())
    measure, splits, by, together, log = chart_options(on)
    epochs = {name: history.epochs(run) for name, run in runs.items()}
    begun = {name: config for name, config in configs.items() if epochs[name]}
    names = compare.seed_groups(begun, infos) if together else [[name] for name in begun]
    if not names:
        st.info("Nothing to draw: no ticked run has finished an epoch.")
        return
    labels = group_labels(names, begun, infos, {name: run.title() for name, run in runs.items()})
    slots = colors([min(group) for group in names])  # as the first of its seeds alone
    groups = [
        charts.Group(
            label=label,
            color=slots[min(group)],
            runs=[epochs[name] for name in group],
            costs=costs_of(runs[group[0]], by),
        )
        for label, group in labels.items()
    ]
    about = ", ".join(sorted({data.name_of(c.data.dataset) for c in begun.values()}))
    draw(groups, measure, splits, by, log, about)
    summary(labels, epochs, statuses)
    accuracy_by_cost(groups, labels, runs, statuses, on)


def validation(statuses: Iterable[Status]) -> str:
    """The images that these runs were validated on."""
    kinds = sorted({single_validation(status.val_is_test) for status in statuses}, reverse=True)
    return kinds[0] if len(kinds) == 1 else "test or held-out images"


def draw(
    groups: list[charts.Group],
    measure: str,
    splits: tuple[str, ...],
    by: str,
    log: bool,
    about: str,
) -> None:
    """The curves, and below them the learning rates. about: a second line for downloads."""

    def values(measure: str, dots: float = math.inf) -> pd.DataFrame:
        return charts.overlay_rows(groups, measure, splits if measure != "lr" else ("",), by, dots)

    def chart(measure: str, log: bool) -> Chart:
        rows = values(measure, charts.MAX_DOTS)
        return charts.overlay_spec(rows, measure, groups, splits, by, log), rows

    with st.container(key="compare_chart"):
        spec, rows = chart(measure, log)
        st.vega_lite_chart(rows, spec, alt=f"{measure} of the selected runs by {by}")
        spec, rows = chart("lr", False)
        st.vega_lite_chart(rows, spec, alt="learning rates of the selected runs")
    made = {
        MEASURES[measure]: functools.partial(chart, measure, log),
        MEASURES["lr"]: functools.partial(chart, "lr", False),
    }
    recorded = {MEASURES[each]: functools.partial(values, each) for each in (measure, "lr")}
    chart_downloads("compare", made, recorded, about)


def accuracy_by_cost(
    groups: list[charts.Group],
    labels: dict[str, list[str]],
    runs: dict[str, Run],
    statuses: dict[str, Status],
    on: str,
) -> None:
    """Final accuracy of each finished run against a cost that the user chooses."""
    with st.expander("Accuracy against cost", key="cost", expanded=True):
        with st.container(horizontal=True, vertical_alignment="bottom"):
            by = st.segmented_control(
                "Cost",
                list(charts.COSTS),
                default="parameters",
                key="cost_by",
                required=True,
                format_func={
                    "parameters": "Parameters",
                    "macs": "Multiply-adds",
                    "seconds": "Seconds",
                }.get,
                persist_state="session",
            )
            log = st.toggle("Logarithmic cost", key="log_cost", persist_state="session")
        found = [
            (label, name, costs(runs[name], statuses[name]), statuses[name].final_acc)
            for label, group in labels.items()
            for name in group
            if statuses[name].state is State.FINISHED
        ]
        rows = charts.cost_rows(found, by)
        if rows.empty:
            st.info(
                "None of the ticked runs can be shown: only finished runs with a known cost "
                "appear here."
            )
            return
        spec = charts.cost_spec(by, tuple((g.label, g.color) for g in groups), on, log)
        with st.container(key="cost_chart"):
            st.vega_lite_chart(rows, spec, alt="final accuracy of the selected runs by cost")
        title = "Accuracy against cost"
        chart_downloads("cost", {title: lambda: (spec, rows)}, {title: lambda: rows}, "")


def costs(run: Run, status: Status) -> dict[str, float | None]:
    """A run's cost by key of charts.COSTS."""
    return {
        "parameters": status.parameters,  # None in a run of an older version
        "macs": forward_macs(run),
        "seconds": status.seconds,
    }


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


def chart_options(on: str) -> tuple[str, tuple[str, ...], str, bool, bool]:
    """(measure, splits, x axis, whether seeds are drawn as mean and band, whether the axis is log).

    on: the validation images of these runs.
    """
    titles = {"validation": on.removesuffix(" images").capitalize(), "train": "Training"}
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
            format_func=lambda split: titles.get(split, "Both"),
            persist_state="session",
        )
        by = x_axis("compare_by", "epoch")
        together = st.toggle(
            "Mean and band over seeds", value=True, key="by_seed", persist_state="session"
        )
        log = st.toggle("Logarithmic", key="log_compare", persist_state="session")
    splits = {"validation": (on,), "train": (TRAIN,), "both": (on, TRAIN)}[split]
    return measure, splits, by, together, log


def group_labels(
    groups: list[list[str]],
    configs: dict[str, RunConfig],
    infos: dict[str, compare.Info],
    titles: dict[str, str],
) -> dict[str, list[str]]:
    """The groups by a label that says in what they differ, with the number of seeds of each.

    titles: of the runs; one that is drawn alone has its title before that, where there is room.
    """
    firsts = {group[0]: configs[group[0]] for group in groups}
    labels = compare.distinguish(firsts, infos)
    alone = [group[0] for group in groups if len(group) == 1 and titles.get(group[0])]
    named = {n: f"{titles[n]} · {labels[n]}" if labels[n] != n else titles[n] for n in alone}
    room = {**labels, **{n: label for n, label in named.items() if len(label) <= LABEL_CHARS}}
    if len(set(room.values())) == len(room):  # no two alike
        labels = room
    return {
        labels[group[0]] + (f" (n = {len(group)})" if len(group) > 1 else ""): group
        for group in groups
    }


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
        row = {"Curve": markdown(label), "Runs": ", ".join(group), "n": len(final)}
        row["Final"] = f"{final.mean():.2f}{spread} %"
        if not ended:
            last = sorted({epochs[name][-1]["epoch"] for name in shown})
            after = f"epochs {last[0]} to {last[-1]}" if len(last) > 1 else f"epoch {last[0]}"
            row["After"] = f"{after} of {statuses[shown[0]].epochs}, not finished"
        elif len(ended) < len(group):
            row["After"] = f"excluding {len(group) - len(ended)} not finished"
        rows.append(row)
    if rows:
        st.table(
            pd.DataFrame(rows).fillna(""), hide_index=True, width="content", border="horizontal"
        )
    if len(rows) > 1 and all(row["n"] == 1 for row in rows):
        st.caption(
            "One run each: differences may be chance. On the Inspect page, *Two networks* tests "
            "two networks on the same images; a study repeats the runs with several seeds."
        )
