"""Export of a run's network, and its download."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import streamlit as st

from engine.errors import RunError
from engine.export import FORMATS, is_outdated
from engine.runs.run import Run
from pages.ui.text import markdown, plain

TRAIN = Path(__file__).resolve().parents[3] / "train.py"
TITLES = {
    "onnx": "ONNX, for other programs and languages",
    "pt2": "torch.export (.pt2), for PyTorch alone",
    "safetensors": "safetensors, the weights",
}


def exporting(run: Run) -> None:
    """A popover: format, export, download. Nothing without weights."""
    weights = run.path / "last.safetensors"
    if not weights.is_file():
        return
    with st.popover("Export", key=f"export_run_{run.name}"):
        kind = st.selectbox("Format", list(FORMATS), key="export_format", format_func=TITLES.get)
        st.caption("With a short program that classifies a picture.")
        if st.button("Export", key="export"):
            with st.spinner("Exporting…", show_time=True):
                problem = export(run, kind)
            if problem:
                st.error(markdown(problem))
        folder = run.path / "export" / kind
        if is_outdated(weights, kind):
            st.info(
                "The weights or their calibration changed after the last export: "
                "export again to download the network as it is now."
            )
        elif folder.is_dir():
            st.download_button(
                "Download as zip",
                data=lambda: zipped(folder),
                file_name=f"{run.name}-{kind}.zip",
                mime="application/zip",
                on_click="ignore",
                key="download_export",
            )


def export(run: Run, kind: str) -> str:
    """Export in a process of its own; what went wrong, or an empty text.

    torch.export switches kernels off for its whole process, and so would slow a training in this
    one and change its results.
    """
    command = [sys.executable, str(TRAIN), "--export", str(run.path.resolve()), "--to", kind]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode == 0:
        return ""
    lines = done.stderr.strip().splitlines() or [f"the export ended with code {done.returncode}"]
    return plain(RunError(lines[-1].removeprefix("train.py: ")))


def zipped(folder: Path) -> bytes:
    """The files of a folder as a zip."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return content.getvalue()
