"""What was found in the user's own images: classes, splits, samples, warnings."""

from __future__ import annotations

import streamlit as st

from pages.ui import readings, tables
from pages.ui.images import contact_sheet
from pages.ui.text import markdown, printable, without_flags


def found(own: readings.OwnImages, fit: str, key: str) -> None:
    """Splits and classes of the images, samples, notes and warnings. key: of the table."""
    train, test = (sum(row[column] for row in own.counts) for column in (1, 2))
    st.write(f"**{len(own.counts):,} classes**: {train:,} training images, {test:,} test images")
    st.image(
        contact_sheet(list(own.samples), columns=readings.SAMPLES, scale=3),
        width="stretch",
        alt="some of the training images, as the network will see them",
    )
    how = {"crop": "the central square of each", "pad": "padded with black to a square"}[fit]
    st.caption(f"Training images as the network will see them: 32×32 pixels, {how}.")
    for line in own.warnings:
        st.warning(told_line(line))
    if own.notes:
        st.caption("  \n".join(told_line(line) for line in own.notes))
    st.dataframe(tables.class_table(own.counts), hide_index=True, key=key)


def told_line(line: str) -> str:
    """A line of an import as Markdown in which nothing is marked up, without a terminal's flag."""
    return markdown(printable(without_flags(line[0].upper() + line[1:])))
