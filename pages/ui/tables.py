"""Runs as rows, and rows as CSV that a spreadsheet cannot be tricked with."""

from __future__ import annotations

import csv
import unicodedata
from datetime import datetime
from pathlib import Path

import pandas as pd

from engine.models import ARCHITECTURES
from engine.runs.run import Run, Status
from pages.ui import readings
from pages.ui.choices import AUGMENTATIONS
from pages.ui.text import shown_name


def run_table(pairs: list[tuple[Run, Status]]) -> pd.DataFrame:
    """One row a run, accuracies as fractions, times in seconds."""
    rows = []
    for run, status in pairs:
        config = readings.config_of(run)
        if config is None:
            continue
        model, augment = config.model, config.augment
        rows.append(
            {
                "Run": run.name,
                "State": status.state.value,
                "Final": status.final_acc,
                "Best": status.best_acc,
                "Measured on": "test" if status.val_is_test else "held-out",
                "Data": Path(config.data.dataset).stem,
                "Architecture": model.arch,
                "Activation": model.activation or ARCHITECTURES[model.arch].activation,
                "Norm": model.norm or ARCHITECTURES[model.arch].norm,
                "Width": model.width,
                "Augmentations": ", ".join(n for n in AUGMENTATIONS if getattr(augment, n))
                or "none",
                "Optimizer": config.optim.optimizer,
                "Learning rate": config.optim.lr,
                "Schedule": config.schedule.kind,
                "Batch": config.batch_size,
                "Epochs": config.epochs,
                "Seed": config.seed,
                "Seconds": round(status.seconds, 1),
                "Parameters": status.parameters,
                "Made": datetime.fromtimestamp(int(status.created)),
                "Note": run.note(),
            }
        )
    return pd.DataFrame(rows)


def class_table(counts: list[tuple[str, int, int]]) -> pd.DataFrame:
    """One row a class of a data set, with its number of images in each split."""
    rows = [(shown_name(name), train, test) for name, train, test in counts]
    return pd.DataFrame(rows, columns=["Class", "Training images", "Test images"])


CHOICES = (
    "Data",
    "Architecture",
    "Activation",
    "Norm",
    "Width",
    "Augmentations",
    "Optimizer",
    "Learning rate",
    "Schedule",
    "Batch",
    "Epochs",
    "Seed",
)


def only_differing(table: pd.DataFrame) -> list[str]:
    """Columns worth showing: all results, and the choices that are not the same in every row."""
    return [c for c in table if c not in CHOICES or table[c].nunique(dropna=False) > 1]


def to_csv(table: pd.DataFrame) -> bytes:
    """UTF-8 CSV; a text that a spreadsheet would run as a formula gets a ' in front."""
    return (
        table.map(_plain)
        .rename(columns=_plain)
        .to_csv(
            index=False,
            quoting=csv.QUOTE_NONNUMERIC,  # a bare \r in a cell would start a row
        )
        .encode("utf-8-sig")
    )


def _plain(value: object) -> object:
    if not isinstance(value, str):
        return value
    # As spreadsheets read it: full-width signs count, what cannot be seen does not.
    seen = (c for c in unicodedata.normalize("NFKC", value) if c.isprintable() and c != " ")
    return f"'{value}" if next(seen, None) in ("=", "+", "-", "@") else value
