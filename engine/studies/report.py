"""Verdict, table and effects of a study, as the page and its downloads show them. Pure."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd

from engine.config import SETTINGS, RunConfig
from engine.settings import changed
from engine.studies import rates, statistics
from engine.studies.results import ContrastResult, Outcome, Verdict
from engine.studies.sentences import points
from engine.studies.study import CROSS, Study
from engine.studies.verdict import verdict

IMAGES = "Over other test images (95 %)"  # column of values with one network
PLACES = ("data.root", "data.url", "device")


def verdict_of(study: Study, outcomes: list[Outcome]) -> Verdict:
    """What these runs of a study say."""
    return verdict(
        outcomes,
        study.baseline,
        study.contrasts,
        seeds=study.seeds,
        added_seeds=study.added_seeds,
        values=[row.name for row in study.rows()],
        margin=study.margin,
        recipe=recipe(study),
    )


def recipe(study: Study) -> str:
    """What all runs have in common, in a few words, such as "width 1/4, 8 epochs"."""
    varied = {path for row in study.rows() for path in row.settings}
    config = study.config(study.rows()[0], study.seeds[0])
    parts = []
    if "model.width" not in varied:
        parts.append(f"width {_fraction(config.model.width)}")
    if "epochs" not in varied:
        parts.append(f"{config.epochs} epoch{'s' * (config.epochs != 1)}")
    elif study.equal == "time" and varied != {"epochs"}:
        parts.append("equal time")
    if config.data.limit and "data.limit" not in varied:
        parts.append(f"{config.data.limit:,} training images")
    if study.fair_rates:
        parts.append("each value at its own learning rate")
    return ", ".join(parts)


def _fraction(width: float) -> str:
    exact = Fraction(width).limit_denominator(16)
    return str(exact) if exact == width else f"{width:g}"


def table(study: Study, verdict: Verdict) -> pd.DataFrame:
    """One row per value: accuracies in %, differences in points."""
    found = {value.value: value for value in verdict.values}
    rows = []
    for row in study.rows():
        value = found.get(row.name)
        rows.append(
            {
                study.factors[0].name if len(study.factors) == 1 else "Value": row.name,
                "n": value.n if value else 0,
                "Accuracy (%)": _mean(value.mean, value.sd) if value else "–",
                IMAGES: _range(value.wilson) if value else "",
                "Difference (points)": difference(study, verdict, row.name),
                "Collapsed": value.collapsed if value else 0,
                "Published (%)": row.published.val_acc if row.published else None,
            }
        )
    frame = pd.DataFrame(rows)
    if not any(row.published for row in study.rows()):
        frame = frame.drop(columns="Published (%)")
    if not frame[IMAGES].any():
        frame = frame.drop(columns=IMAGES)
    return frame if frame["Collapsed"].any() else frame.drop(columns="Collapsed")


def _range(interval: tuple[float, float] | None) -> str:
    return "one network: {:.2f} to {:.2f}".format(*interval) if interval else ""


def _mean(mean: float | None, sd: float | None) -> str:
    if mean is None:
        return "–"
    return f"{mean:.2f}" + (f" ± {sd:.2f}" if sd is not None else "")


def difference(study: Study, verdict: Verdict, name: str) -> str:
    """The difference from the reference of a value, with its interval."""
    if name == study.baseline:
        return "baseline"
    own = [c for c in verdict.contrasts if c.value == name and c.difference is not None]
    declared = [c for c in own if c.reference == study.baseline or study.contrasts]
    return "; ".join(_interval(c, study.baseline) for c in declared) or "–"


def _interval(contrast: ContrastResult, baseline: str | None) -> str:
    text = points(contrast.difference, True)
    if contrast.low is not None:
        text += f" ({points(contrast.low)} to {points(contrast.high)})"
    return text if contrast.reference == baseline else f"{text} against {contrast.reference}"


def published(study: Study) -> dict[str, float]:
    """Published validation accuracy of each value that has one, in %."""
    return {row.name: row.published.val_acc for row in study.rows() if row.published}


def explanation(study: Study, verdict: Verdict) -> list[str]:
    """Every contrast in a sentence, then assumptions and what was left out."""
    lines = [contrast.sentence for contrast in verdict.contrasts]
    if verdict.sd is not None:
        lines.append(
            f"The brackets are simultaneous 95 % intervals ({verdict.method}, {verdict.df} degrees "
            f"of freedom, pooled standard deviation {points(verdict.sd)} points)."
        )
    if study.fair_rates and not rates.missing(study):
        lines.append(rates.sentence(study))
    return [*lines, *verdict.notes]


def grid_means(study: Study, verdict: Verdict) -> dict[tuple[str, str], float | None]:
    """Mean accuracy of each combination of two factors, in %.

    Where the blocks connect all values, as fitted: a run that is missing would otherwise count as
    a difference, if its seed is a good or a bad one.
    """
    means = {value.value: value.mean for value in verdict.values}
    if verdict.fit and verdict.fit.connected:
        means |= dict(zip(verdict.fitted, map(float, verdict.fit.effects), strict=True))
    first, second = study.factors
    return {
        (a.name, b.name): means.get(f"{a.name}{CROSS}{b.name}")
        for a in first.values
        for b in second.values
    }


def effects(study: Study, verdict: Verdict) -> list[str]:
    """Main effects and interaction in sentences; empty until blocks connect all combinations."""
    means = grid_means(study, verdict)
    if None in means.values() or not verdict.fit.connected:
        return []
    table = np.reshape(list(means.values()), [len(factor.values) for factor in study.factors])
    tested = _tested(verdict, [CROSS.join(pair) for pair in means], table.shape)
    lines = []
    for axis, factor in enumerate(study.factors):
        by_value = zip(factor.values, table.mean(1 - axis), strict=True)
        said = ", ".join(f"{value.name} {mean:.2f} %" for value, mean in by_value)
        lines.append(f"{factor.name}, mean over the other factor: {said}{tested[axis]}.")
    rest = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    largest = int(np.abs(rest).argmax())
    lines.append(
        f"Interaction: the largest deviation from the sum of both effects is "
        f"{points(rest.flat[largest], True)} points, at {CROSS.join(list(means)[largest])}"
        f"{tested[2]}."
    )
    return lines


def _tested(verdict: Verdict, names: list[str], shape: tuple[int, ...]) -> list[str]:
    """Whether each effect and the interaction is more than the spread between seeds."""
    if verdict.sd is None:
        return [" (the spread between seeds is not known: cannot tell)"] * 3
    cells = np.reshape([verdict.fitted.index(name) for name in names], shape)
    found = statistics.two_way(verdict.fit, cells)
    return [
        f" ({'shown' if p < 1 - statistics.LEVEL else 'not shown'}, "
        + ("p < 0.001)" if p < 0.001 else f"p = {p:.2g})")
        for p in found
    ]


def settings(study: Study) -> list[str]:
    """Settings that all runs share and that differ from the defaults."""
    config = study.config(study.rows()[0], study.seeds[0])
    varied = {path for row in study.rows() for path in row.settings}
    return [
        f"{SETTINGS[setting.path].label}: {value}"
        for setting, value in changed(config, RunConfig())
        if setting.path not in (*varied, *PLACES, "seed")
    ]
