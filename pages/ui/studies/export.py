"""A study's results as Markdown and CSV. Pure."""

from __future__ import annotations

import textwrap
from typing import Any

import pandas as pd

from engine.studies import published, report
from engine.studies.results import Outcome, Verdict
from engine.studies.study import Study

LINE = 100  # characters that fit below the title of a chart


def markdown(study: Study, verdict: Verdict, outcomes: list[Outcome], commands: list[str]) -> str:
    """A report: question, sentences, table, notes, settings, machine and commands.

    commands: the train.py command of each run.
    """
    machines = sorted({outcome.block for outcome in outcomes if outcome.block})
    seeds = ", ".join(map(str, study.seeds))
    added = f"; added after looking: {', '.join(map(str, study.added_seeds))}"
    parts = [
        f"# {study.question}",
        "\n".join(f"- {sentence}" for sentence in verdict.headline),
        _table(report.table(study, verdict)),
        "## How sure this is",
        "\n".join(f"- {line}" for line in report.explanation(study, verdict)),
        "## How it was measured",
        "\n".join(
            f"- {line}"
            for line in (
                *report.settings(study),
                f"Seeds: {seeds}{added if study.added_seeds else ''}",
                *(f"Machine: {machine}" for machine in machines),
            )
        ),
        "```\n" + "\n".join(commands) + "\n```",
    ]
    if study.footnotes:
        parts += ["## Footnotes", "\n".join(f"- {note}" for note in study.footnotes)]
    return "\n\n".join(parts) + "\n"


def subtitle(study: Study, outcomes: list[Outcome]) -> list[str]:
    """Lines below a chart's title: recipe, n, machines, and the command that trains the study."""
    counted = [outcome for outcome in outcomes if outcome.counts]
    counts = sorted({sum(o.value == row.name for o in counted) for row in study.rows()})
    runs = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    machines = sorted({outcome.block for outcome in counted if outcome.block})
    texts = (f"{report.recipe(study)}; n = {runs}", "; ".join(machines), published.command(study))
    return [line for text in texts for line in textwrap.wrap(text, LINE)]


def _table(frame: pd.DataFrame) -> str:
    def line(cells: list[Any]) -> str:
        texts = ("" if pd.isna(cell) else str(cell).replace("|", "\\|") for cell in cells)
        return f"| {' | '.join(texts)} |"

    head = [line(list(frame)), line(["---"] * frame.shape[1])]
    return "\n".join([*head, *(line(list(row)) for row in frame.itertuples(index=False))])


def run_rows(study: Study, outcomes: list[Outcome], commands: dict[tuple[str, int], str]):
    """One row per run: value, seed, accuracy in %, state, what it is left out for, command."""
    return pd.DataFrame(
        [
            {
                "value": outcome.value,
                "seed": outcome.seed,
                "added": outcome.seed in study.added_seeds,
                "accuracy (%)": None if outcome.accuracy is None else 100 * outcome.accuracy,
                "images": outcome.n_images,
                "state": outcome.state,
                "left out for": ", ".join(outcome.confounds),
                "machine": outcome.block,
                "command": commands.get((outcome.value, outcome.seed), ""),
            }
            for outcome in outcomes
        ]
    )
