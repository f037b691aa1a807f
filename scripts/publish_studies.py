"""Keep the results of studies as records in docs/studies/, and write docs/studies.md from them.

    python -m scripts.publish_studies record activations-and-norms --data "CIFAR-10 (JPEG)"
    python -m scripts.publish_studies write

`record` writes one file per finished block: all values of one seed, trained on one machine. A
block of the same seed from another machine gets a file of its own.
`write` pools the blocks of each study, whatever machine they come from.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from engine.errors import ConfigError, StudyError
from engine.files import write_atomic
from engine.runs.run import Run
from engine.studies import bundle, published, report, run, study
from engine.studies.results import Outcome
from engine.studies.study import Study
from pages.ui import rendering

RECORDS = Path(__file__).resolve().parents[1] / "docs" / "studies"
HEAD = """# Studies

The four questions of the published study, asked again with this project's own commands. Each
accuracy is that of the last epoch on the test images, mean ± standard deviation over n seeds; where
runs of several machines are pooled, that of the residuals of the model accuracy = value + machine.
Written by `scripts.publish_studies` (`python -m scripts.publish_studies write`) from the records
in [studies/](studies).
"""


def record(name: str, data: str, study_root: Path, run_root: Path, folder: Path) -> list[Path]:
    """Write every finished block of a study to `folder`; the files. Raises StudyError."""
    chosen = study.load(study_root, name)
    found = run.outcomes(chosen, run_root)
    portable = dataclasses.replace(chosen, base=bundle.portable(chosen.base))
    written = []
    for seed in chosen.all_seeds():
        block = [outcome for outcome in found if outcome.seed == seed]
        if len(block) < len(chosen.rows()) or not all(each.finished for each in block):
            continue
        content = {
            "study": json.loads(portable.to_json()),
            "data": data,
            "outcomes": [dataclasses.asdict(outcome) for outcome in block],
            "runs": {row.name: _run(run_root, chosen, row, seed) for row in chosen.rows()},
        }
        folder.mkdir(parents=True, exist_ok=True)
        path = _file(folder / f"{name}-s{seed}.json", block)
        write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        written.append(path)
    return written


def _file(path: Path, block: list[Outcome]) -> Path:
    """Where to keep a block: `path`, or a name of its machine if another's block has that."""
    machine = block[0].block
    if not path.exists():
        return path
    kept = json.loads(path.read_text(encoding="utf-8"))["outcomes"][0]["block"]
    if kept == machine:
        return path
    slug = re.sub(r"[^A-Za-z0-9]+", "-", machine).strip("-").lower()
    return path.with_name(f"{path.stem}-{slug}.json")


def _run(run_root: Path, chosen: Study, row: study.Value, seed: int) -> dict[str, Any]:
    each = Run(run_root / chosen.run_name(row, seed))
    status = each.status()
    return {
        "parameters": status.parameters,
        "seconds": round(status.seconds, 1),
        "threads": status.compute["threads"],
        "torch": status.compute["torch"],
        "val_acc": [epoch["val_acc"] for epoch in each.epochs()],
    }


def read(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of each study, in the order of the published ones."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in published.STUDIES}
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        found[content["study"]["name"]].append(content)
    return {name: blocks for name, blocks in found.items() if blocks}


def section(blocks: list[dict[str, Any]]) -> tuple[str, bytes]:
    """Markdown of one study, and its chart as SVG. Raises StudyError for blocks of two recipes."""
    chosen = Study.from_json(json.dumps(blocks[0]["study"]))
    recipes = {json.dumps([each["study"][key] for key in ("base", "factors")]) for each in blocks}
    if len(recipes) > 1:
        raise StudyError(f"docs/studies/{chosen.name}-*.json: the blocks have different recipes")
    outcomes = [Outcome(**values) for each in blocks for values in each["outcomes"]]
    found = report.verdict_of(chosen, outcomes)
    seeds = {outcome.seed for outcome in outcomes}
    machines = sorted({outcome.block for outcome in outcomes})
    threads = sorted({each["threads"] for block in blocks for each in block["runs"].values()})
    used = f"{'/'.join(map(str, threads))} thread{'s' * (threads != [1])}"
    seconds = sum(each["seconds"] for block in blocks for each in block["runs"].values())
    lines = [
        f"## {chosen.question}",
        f"{blocks[0]['data']}, {report.recipe(chosen)}; {len(seeds)} of {len(chosen.seeds)} "
        f"planned seeds; {'; '.join(machines)}, {used}, "
        f"{seconds / 60:.0f} minutes of training.",
        f"    {published.command(chosen)}",
        _markdown(report.table(chosen, found)),
        f"![{chosen.question}](studies/{chosen.name}.svg)",
        *(
            f"- {line}"
            for line in (*found.headline[: found.interim], *report.explanation(chosen, found))
        ),
        "What differs from the published study:",
        *(f"- {line}" for line in (*_cuts(chosen), *chosen.footnotes)),
    ]
    return _joined(lines), rendering.svg(_chart(chosen, outcomes))


def _joined(lines: list[str]) -> str:
    """Paragraphs; the entries of a list stay together."""
    text = lines[0]
    for before, line in itertools.pairwise(lines):
        both_entries = before.startswith("- ") and line.startswith("- ")
        text += ("\n" if both_entries else "\n\n") + line
    return text + "\n"


def _cuts(chosen: Study) -> list[str]:
    base = published.STUDIES[chosen.name].base
    whole = dataclasses.replace(chosen, base=base)
    row, seed = chosen.rows()[0], chosen.seeds[0]
    now, then = chosen.config(row, seed), whole.config(row, seed)
    images = f", {now.data.limit:,} training images instead of all" if now.data.limit else ""
    return [f"Width {now.model.width:g}, {now.epochs} epochs instead of {then.epochs}{images}."]


def _markdown(table: pd.DataFrame) -> str:
    rows = [list(table.columns), ["---"] * len(table.columns), *table.values.tolist()]
    return "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)


def _chart(chosen: Study, outcomes: list[Outcome]) -> dict[str, Any]:
    """Every run as a point, and the mean of each value as a bar."""
    rows = pd.DataFrame(
        [(o.value, 100 * o.accuracy) for o in outcomes if o.finished],
        columns=["value", "accuracy"],
    )
    order = [row.name for row in chosen.rows()]
    base = alt.Chart(rows).encode(y=alt.Y("value:N", sort=order, title=None))
    x = alt.X("accuracy:Q", title="Accuracy (%)", scale=alt.Scale(zero=False))
    mean = alt.X("mean(accuracy):Q", title="Accuracy (%)")
    layers = base.mark_tick(thickness=3, size=22).encode(x=mean) + base.mark_circle(
        size=60, opacity=0.7
    ).encode(x=x)
    spec = layers.properties(height=34 * len(order)).to_dict()
    return rendering.standalone(spec, rows, f"{chosen.question} Runs, and their mean")


def write(folder: Path) -> None:
    """Write docs/studies.md and the charts. Raises StudyError."""
    texts = [HEAD]
    for name, blocks in read(folder).items():
        text, svg = section(blocks)
        (folder / f"{name}.svg").write_bytes(svg)
        texts.append(text)
    write_atomic(folder.parent / "studies.md", "\n".join(texts))


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("record", help="keep the finished blocks of a study")
    one.add_argument("study", help="name of a built-in study that was trained")
    one.add_argument("--data", required=True, help="name of the data, for the text")
    one.add_argument("--study-root", type=Path, default=Path("studies"), help="folder of studies")
    one.add_argument("--run-root", type=Path, default=Path("checkpoints"), help="folder of runs")
    commands.add_parser("write", help="write docs/studies.md from the records")
    args = parser.parse_args(words)
    try:
        if args.command == "record":
            for path in record(args.study, args.data, args.study_root, args.run_root, RECORDS):
                print(path.name)
        else:
            write(RECORDS)
    except (ConfigError, StudyError) as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
