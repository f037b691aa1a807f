"""Timing, terminal output and JSON file of all benchmarks."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class Row:
    """One figure: medians of the repeats, and their range."""

    name: str
    value: float
    baseline: float | None  # None: no comparison
    ratio: float | None  # median of value / baseline, repeat by repeat
    unit: str
    n: int  # repeats
    spread: tuple[float, float]  # range of the ratio; of the value without a baseline

    def text(self) -> str:
        """The figure as it is printed."""
        low, high = self.spread
        if self.ratio is None:
            return f"{self.value:,.4g} {self.unit} ({low:,.4g} to {high:,.4g}, n = {self.n})"
        return (
            f"{self.value:,.4g} {self.unit} against {self.baseline:,.4g}: {self.ratio:.2f} times "
            f"({low:.2f} to {high:.2f}, n = {self.n})"
        )


def compare(name: str, unit: str, values: Sequence[float], baselines: Sequence[float]) -> Row:
    """Row of a figure and its baseline, measured alternately: one of each per repeat."""
    ratios = [value / base for value, base in zip(values, baselines, strict=True)]
    middle = statistics.median
    spread = (min(ratios), max(ratios))
    return Row(name, middle(values), middle(baselines), middle(ratios), unit, len(values), spread)


def alone(name: str, unit: str, values: Sequence[float], value: float | None = None) -> Row:
    """Row of a figure without a baseline. value: shown instead of the median."""
    shown = statistics.median(values) if value is None else value
    return Row(name, shown, None, None, unit, len(values), (min(values), max(values)))


def rates(
    candidates: Sequence[Callable[[], Any]], images: int, repeats: int, warmups: int = 1
) -> list[list[float]]:
    """Images/s of each candidate in each repeat; alternating, so that drift affects all alike.

    images: number of images per call. warmups: untimed calls of each before the first repeat.
    """
    for candidate in candidates:
        for _ in range(warmups):
            candidate()
    found: list[list[float]] = [[] for _ in candidates]
    for _ in range(repeats):
        for candidate, rate in zip(candidates, found, strict=True):
            start = time.perf_counter()
            candidate()
            rate.append(images / (time.perf_counter() - start))
    return found


def machine() -> dict[str, Any]:
    """Description of this machine, for the JSON file."""
    return {
        "cpu": torch.cpu.get_capabilities().get("cpu_name") or platform.processor(),
        "amx": bool(torch.cpu.get_capabilities().get("amx_bf16")),
        "avx512_bf16": bool(torch.cpu.get_capabilities().get("avx512_bf16")),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def parser(description: str, *, repeats: bool = True) -> argparse.ArgumentParser:
    """Argument parser with --json and, unless repeats is False, --repeats."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    if repeats:
        made.add_argument("--repeats", type=int, default=3, help="repeats (default %(default)s)")
    return made


def publish(rows: Iterable[Row], file: Path | None) -> int:
    """Print each row once it is measured, and write all to the JSON file. Returns exit code 0."""
    introduce()
    measured = []
    for row in rows:
        measured.append(row)
        show(row)
    if file is not None:
        content = {"machine": machine(), "rows": [dataclasses.asdict(row) for row in measured]}
        file.write_text(json.dumps(content, indent=2) + "\n")
    return 0


def show(row: Row) -> None:
    print(f"{row.name}: {row.text()}", flush=True)


def kind(precision: str) -> str:
    """The instruction set that decides which layers are fast in this precision, as a file name."""
    about = torch.cpu.get_capabilities()
    names = {"avx512_f": "avx512", "avx2": "avx2"}
    if precision == "bf16":
        names = {"amx_bf16": "amx", "avx512_bf16": "avx512_bf16", **names}
    return next((name for key, name in names.items() if about.get(key)), "other")


def introduce() -> None:
    """Print the machine on which the rows below were measured."""
    about = machine()
    special = [name for name in ("amx", "avx512_bf16") if about[name]]
    print(
        f"{about['cpu']} ({', '.join(special) or 'no bf16 instructions'}), {about['threads']} "
        f"threads, torch {about['torch']}; medians, with their range",
        flush=True,
    )
