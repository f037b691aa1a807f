"""When the world shifts: accuracy on corrupted images, of one network or two."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pandas as pd
import streamlit as st

from engine.inspect.corruptions import CORRUPTIONS, SEVERITIES, Row, corrupt, measure
from pages.ui.downloads import downloads
from pages.ui.images import contact_sheet
from pages.ui.inspect import computing
from pages.ui.inspect.subject import Subject
from pages.ui.inspect.two import other
from pages.ui.text import percent

EXAMPLE = 3  # screen pixels for each pixel


def section(subject: Subject) -> None:
    second = other(subject)
    subjects = [subject] + ([second] if second else [])
    st.caption(
        "Each test image is corrupted in seven ways, at three severities, always in the same way. "
        "The corruptions follow Hendrycks and Dietterich 2019 but are implemented anew, so the "
        "accuracies cannot be compared with published ones."
    )
    examples(subject)
    if not all(computing.has("corruptions", key(each)) for each in subjects):
        passes = 1 + len(CORRUPTIONS) * len(SEVERITIES)
        if not st.button(
            f"Classify {passes} × {len(subject.sample):,} images", key="measure_corruptions"
        ):
            return
    tables = [rows_of(each) for each in subjects]
    names = [each.choice.title for each in subjects]
    show(names, tables)


def key(subject: Subject) -> tuple:
    return (str(subject.choice.weights), subject.choice.changed, subject.key)


def rows_of(subject: Subject) -> list[Row]:
    """Accuracy on each corruption. Raises ValueError or OSError."""

    def predict(images: Any) -> Generator[float, None, Any]:
        return (yield from computing.run(subject.choice, images)).labels

    return computing.once(
        "corruptions",
        key(subject),
        lambda: measure(subject.sample.images, subject.sample.labels, predict),
        f"{subject.choice.title}: classifying corrupted images…",
    )


def examples(subject: Subject) -> None:
    """One image under each corruption, at the middle severity."""
    image = subject.sample.images[:1]
    shown = [image[0], *(corrupt(image, name, 2)[0] for name in CORRUPTIONS)]
    sheet = contact_sheet(shown, len(shown), EXAMPLE, gap=6)
    st.image(sheet, alt="one image under each corruption")
    st.caption(f"From left to right: none, {', '.join(CORRUPTIONS)} (severity 2 of 3).")


def line(name: str, amounts: str, names: list[str], tables: list[list[Row]]) -> dict[str, Any]:
    """The accuracies under one corruption, in %; without one, the same for each severity."""
    cells: dict[str, Any] = {"Corruption": name, "Amounts": amounts}
    for title, rows in zip(names, tables, strict=True):
        of = {row.severity: row.accuracy.value for row in rows if row.corruption == name}
        prefix = f"{title}: " if len(names) > 1 else "Severity "
        clean = rows[0].accuracy.value
        cells |= {f"{prefix}{each}": 100 * of.get(each, clean) for each in SEVERITIES}
    return cells


def show(names: list[str], tables: list[list[Row]]) -> None:
    """A line for each corruption, a column for each network and severity."""
    lines = [line("none", "original images", names, tables)]
    for name, kind in CORRUPTIONS.items():
        amounts = ", ".join(f"{amount:g}" for amount in kind.amounts)
        lines.append(line(name, f"{amounts} ({kind.unit})", names, tables))
    table = pd.DataFrame(lines)
    for title, rows in zip(names, tables, strict=True):
        clean = rows[0].accuracy
        mean = sum(row.accuracy.value for row in rows[1:]) / len(rows[1:])
        st.markdown(
            f"**{title}**: {percent(clean.value)} on the original images ({percent(clean.low)} to "
            f"{percent(clean.high)}), {percent(mean)} on average over the corruptions."
        )
    st.dataframe(
        table,
        hide_index=True,
        key="corruptions",
        column_config={
            name: st.column_config.NumberColumn(format="%.1f %%") for name in table.columns[2:]
        },
    )
    st.caption("Accuracy in %. Networks trained with similar augmentations usually lose less.")
    downloads("shift", {"Corruptions": table})
