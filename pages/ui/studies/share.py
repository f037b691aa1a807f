"""Downloads of a study, and the import of one from another computer."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd
import streamlit as st

from engine.errors import ConfigError, StudyError
from engine.studies import bundle, report
from engine.studies.study import Study
from pages.ui import folders, rendering, tables
from pages.ui.studies import charts, export, opened
from pages.ui.text import command, markdown

ZIP = "Study (zip)"
ZIP_HELP = (
    "Holds the plan and all results. Imported on another computer, its seeds count beside those "
    "measured there."
)


def downloads(study: Study, by: str) -> None:
    """Buttons; each file is made at the click."""
    files = {
        "Report with table (Markdown)": (report_file, f"{study.name}.md", "text/markdown"),
        "Table (CSV)": (table_csv, f"{study.name}-table.csv", "text/csv"),
        "Runs (CSV)": (runs_csv, f"{study.name}.csv", "text/csv"),
        "Chart (SVG)": (functools.partial(image, by=by, make=rendering.svg), f"{study.name}.svg",
                        "image/svg+xml"),
        "Chart (PNG)": (functools.partial(image, by=by, make=rendering.png), f"{study.name}.png",
                        "image/png"),
        ZIP: (pack, f"{study.name}.zip", "application/zip"),
    }  # fmt: skip
    with st.popover("Download", key="study_downloads"):
        for label, (make, name, kind) in files.items():
            st.download_button(
                label,
                data=functools.partial(make, study),
                file_name=name,
                mime=kind,
                on_click="ignore",
                key=f"download_{name}",
                help=ZIP_HELP if label == ZIP else None,
            )


def commands(study: Study) -> dict[tuple[str, int], str]:
    """The train.py command of each run, by value and seed."""
    return {
        (row.name, seed): command(study.config(row, seed), name) for name, row, seed in study.runs()
    }


def report_file(study: Study) -> bytes:
    outcomes = opened.outcomes(study)
    found = report.verdict_of(study, outcomes)
    lines = list(commands(study).values())
    return export.markdown(study, found, outcomes, lines).encode()


def table_csv(study: Study) -> bytes:
    """The table of the verdict."""
    return tables.to_csv(report.table(study, report.verdict_of(study, opened.outcomes(study))))


def runs_csv(study: Study) -> bytes:
    return tables.to_csv(export.run_rows(study, opened.outcomes(study), commands(study)))


def image(study: Study, by: str, make: Any) -> bytes:
    """The study's chart; make: rendering.svg or rendering.png."""
    found = report.published(study)
    rows = pd.concat(
        [charts.curve_rows(opened.curves(study), by), charts.published_rows(found)],
        ignore_index=True,
    )
    names = tuple(row.name for row in study.rows())
    spec = charts.curve_spec(by, names, bool(found), charts.measured_on(study))
    lines = export.subtitle(study, opened.outcomes(study))
    return make(rendering.standalone(spec, rows, study.question, lines))


def pack(study: Study) -> bytes:
    return bundle.pack(study, opened.outcomes(study))


def import_form() -> None:
    """Upload a study's zip; it becomes a study here, or its results count in the one here."""
    file = st.file_uploader(
        "Zip of a study", key="study_zip", max_upload_size=max(1, bundle.MAX_BYTES // 2**20)
    )
    if file and st.button("Import", key="import_now"):
        try:
            name = bundle.unpack(file.getvalue(), folders.STUDY_ROOT, folders.DATA_ROOT)
        except (ConfigError, StudyError) as error:
            st.error(markdown(str(error)))
            return
        opened.open_study(name)
        st.rerun()
