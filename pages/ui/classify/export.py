"""Results as a CSV file. All untrusted text is sanitized here."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pages.ui import tables
from pages.ui.classify.cards import Answer, Picture, agree, comparable
from pages.ui.text import printable


def to_csv(results: list[tuple[Picture, list[Answer]]], refused: list, fit: str) -> bytes:
    """UTF-8 CSV, one row per picture; cells that a spreadsheet would evaluate are escaped."""
    rows = []
    for picture, said in results:
        row: dict[str, Any] = {"picture": picture.name, "about": picture.about, "fit": fit}
        if picture.truth:
            row["true class"] = picture.truth
        for number, answer in enumerate(said, start=1):
            mark = f" ({number})" if len(said) > 1 else ""
            row[f"network{mark}"] = answer.network
            for rank, (label, probability) in enumerate(answer.top, start=1):
                row[f"class {rank}{mark}"] = label
                row[f"probability {rank}{mark}"] = round(probability, 6)
            row[f"could also be{mark}"] = "; ".join(label for label, _ in answer.alternatives)
            row[f"may be none{mark}"] = "yes" if answer.unsure else "no"
        if comparable(said):
            row["agree"] = "yes" if agree(said) else "no"
        rows.append(row)
    rows += [{"picture": name, "error": why} for name, why in refused]
    # A line break within a cell could start a new one, which to_csv would not escape.
    table = pd.DataFrame(rows).map(lambda cell: printable(cell) if isinstance(cell, str) else cell)
    return tables.to_csv(table)
