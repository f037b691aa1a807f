"""Tables of runs and classes, and CSV that is safe from formula injection."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Collection, Iterable
from datetime import datetime
from pathlib import PurePath

import pandas as pd

from engine import data
from engine.config import SETTINGS, RunConfig
from engine.models import ARCHITECTURES
from engine.runs.compare import data_id, differing
from engine.runs.run import Run, State, Status
from engine.runs.validation import seen_clause
from engine.settings import Role, get_field, is_used
from pages.ui import readings
from pages.ui.choices import AUGMENTATIONS
from pages.ui.text import shown_name

# Settings that have a column of their own, after those of the results.
COLUMNS = (
    *("data.dataset", "model.arch", "model.activation", "model.norm", "model.width"),
    *("optim.optimizer", "optim.lr", "schedule.kind", "batch_size", "epochs", "seed"),
    *("data.limit", "data.holdout", "pretrained"),
)
# Settings that a column can be asked for, by label.
OPTIONAL = {
    s.label: path
    for path, s in SETTINGS.items()
    if s.flag
    and s.role is not Role.PLACE
    and path not in COLUMNS
    and path.removeprefix("augment.") not in AUGMENTATIONS
}
# Shown until the user chooses others.
USUAL = (
    *("Run", "Title", "State", "Final", "Measured on", "Architecture", "Activation", "Epochs"),
    *("Augmentations", "Time (s)"),
)
ACCURACIES = ("Final", "Best", "Test")


def run_table(pairs: list[tuple[Run, Status]], more: Iterable[str] = ()) -> pd.DataFrame:
    """One row per run; accuracies as fractions, times in seconds.

    more: labels of OPTIONAL that get a column too.
    """
    rows, identities = [], []
    for run, status in pairs:
        config, finished = readings.config_of(run), status.state is State.FINISHED
        rows.append(
            {
                "Run": run.name,
                "Title": run.title(),
                "State": status.state.value,
                "Final": status.final_acc if finished else None,
                "Best": status.best_acc,
                "Measured on": _measured_on(status),
                "Test": status.final_acc if finished and status.val_is_test else status.test_acc,
                **setting_cells(config),
                **{label: _optional_cell(config, OPTIONAL[label]) for label in more},
                "Time (s)": round(status.seconds, 1),
                "Parameters": status.parameters,
                "Created": datetime.fromtimestamp(int(status.created)),
                "Note": run.note(),
            }
        )
        identities.append(data_id(readings.dataset_info(run)))
    table = pd.DataFrame(rows)
    return _with_identities(table, identities) if rows else table


def _optional_cell(config: RunConfig | None, path: str) -> object:
    """The value of a setting, as a text unless it is a number; None where it has no effect."""
    if config is None or not is_used(config, SETTINGS[path]):
        return None
    value = get_field(config, path)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or None
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _measured_on(status: Status) -> str | None:
    if status.best_acc is None:
        return None
    return ("test" if status.val_is_test else "held-out") + seen_clause(status.val_seen)


def _with_identities(table: pd.DataFrame, identities: list[str]) -> pd.DataFrame:
    """Distinguish data sets of one name but different content, as "pets (3f2a91)".

    For example, a folder changed between two runs. identities: the data id of each row, or "".
    """
    known = pd.Series(identities, index=table.index, dtype=str)
    several = known[known != ""].groupby(table["Data set"]).transform("nunique") > 1
    marked = several[several].index
    table.loc[marked, "Data set"] += " (" + known[marked] + ")"
    return table


def setting_cells(config: RunConfig | None) -> dict[str, object]:
    """The cells of a run's settings by their labels; all augmentations share one.

    config: None leaves them empty.
    """
    if config is None:
        return dict.fromkeys(setting_cells(RunConfig()))
    own = ARCHITECTURES[config.model.arch]
    cells = {SETTINGS[path].label: get_field(config, path) for path in COLUMNS}
    cells["Data set"] = data.name_of(config.data.dataset)
    cells["Activation"] = config.model.activation or own.activation
    cells["Norm"] = config.model.norm or own.norm
    holdout, parent = SETTINGS["data.holdout"].label, SETTINGS["pretrained"].label
    cells[holdout] = config.data.holdout or None
    cells[parent] = config.pretrained and PurePath(config.pretrained).name
    used = [label for key, label in AUGMENTATIONS.items() if getattr(config.augment, key)]
    return {**cells, "Augmentations": ", ".join(used) or "none"}


def class_table(counts: list[tuple[str, int, int]]) -> pd.DataFrame:
    """One row per class of a data set, with its number of images in each split."""
    rows = [(shown_name(name), train, test) for name, train, test in counts]
    return pd.DataFrame(rows, columns=["Class", "Training images", "Test images"])


def only_differing(table: pd.DataFrame, among: Collection[str] = ()) -> list[str]:
    """All result columns, and the setting columns that differ between rows.

    among: names of the runs that are compared; all rows if there are fewer than two.
    """
    rows = table[table["Run"].isin(among)] if len(among) > 1 else table
    settings = {*setting_cells(RunConfig()), *OPTIONAL}
    return [c for c in table if c not in settings or rows[c].nunique(dropna=False) > 1]


def differing_labels(runs: Iterable[Run]) -> list[str]:
    """Labels of OPTIONAL in which these runs differ."""
    configs = [config for run in runs if (config := readings.config_of(run))]
    return [SETTINGS[p].label for p in differing(configs) if SETTINGS[p].label in OPTIONAL]


def to_csv(table: pd.DataFrame) -> bytes:
    """UTF-8 CSV; texts that a spreadsheet would evaluate as a formula are prefixed with '."""
    return (
        table.map(_plain)
        .rename(columns=_plain)
        .to_csv(
            index=False,
            quoting=csv.QUOTE_NONNUMERIC,  # an unquoted \r would start a new row
        )
        .encode("utf-8-sig")
    )


def _plain(value: object) -> object:
    if not isinstance(value, str):
        return value
    # Like spreadsheets: full-width signs count, invisible characters do not.
    seen = (c for c in unicodedata.normalize("NFKC", value) if c.isprintable() and c != " ")
    return f"'{value}" if next(seen, None) in ("=", "+", "-", "@") else value
