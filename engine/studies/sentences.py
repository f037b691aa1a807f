"""A verdict in words that a student can repeat. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from engine.studies.results import MIN_WELCH, ContrastResult, Progress, ValueResult, Verdict


def points(number: float, signed: bool = False) -> str:
    """Percentage points to one decimal place, two below 0.1, with a true minus sign."""
    digits = 2 if 0.001 < abs(number) < 0.095 else 1
    text = f"{abs(number):.{digits}f}"
    sign = "−" if number < 0 and float(text) else "+" if signed and float(text) else ""
    return sign + text


def contrast(
    result: ContrastResult, values: Mapping[str, ValueResult], recipe: str, margin: float | None
) -> str:
    """The sentence of one contrast.

    values: by name; recipe: such as "width 1/4, 8 epochs"; margin: in points.
    """
    pair = (values[result.value], values[result.reference])
    if result.decision == "cannot tell":
        return _cannot_tell(result, pair, recipe)
    basis = _basis([result], values, recipe)
    low, high = result.low, result.high
    if result.decision == "different":
        winner, loser = result.value, result.reference
        if result.difference < 0:
            winner, loser, low, high = loser, winner, -high, -low
        small = margin and max(abs(low), abs(high)) < margin
        return (
            f"{winner} beats {loser} by {points(abs(result.difference))} points "
            f"(95 %: {points(low)} to {points(high)}; {basis})"
            + (f", less than the margin of {margin:g} points." if small else ".")
        )
    if result.decision == "same within margin":
        return (
            f"{result.value} and {result.reference} are the same within {margin:g} points: "
            f"{points(result.difference, True)} points (95 %: {points(low)} to {points(high)}; "
            f"{basis})."
        )
    return (
        f"No clear difference: {result.value} ended {points(abs(result.difference))} points "
        f"{'below' if result.difference < 0 else 'above'} {result.reference}, which may be chance "
        f"(95 %: {points(low)} to {points(high)}; {basis}). {_power([result])}"
    )


def _basis(
    results: Sequence[ContrastResult], values: Mapping[str, ValueResult], recipe: str
) -> str:
    """What intervals rest on: numbers of seeds, recipe, assumption."""
    pairs = [(values[result.value].n, values[result.reference].n) for result in results]
    counts = sorted({n for pair in pairs for n in pair})
    numbers = [counts[0], counts[-1]] if len(counts) > 2 else counts
    seeds = (" to " if len(counts) > 2 else " and ").join(map(str, numbers))
    assumed = any(
        result.test != "Welch" and min(pair) < MIN_WELCH
        for result, pair in zip(results, pairs, strict=True)
    )
    parts = (
        f"{seeds} seed{'s' * (counts != [1])}",
        recipe,
        "assuming equal spreads" * assumed,
    )
    return "; ".join(part for part in parts if part)


def _power(results: Sequence[ContrastResult]) -> str:
    """How many seeds each of these contrasts would take."""
    low = _about(min(result.seeds_needed[0] for result in results))
    high = _about(max(result.seeds_needed[1] for result in results))
    number = f"{low:,} to {high:,}" if low != high else f"{low:,}"
    return (
        f"Detecting a difference of {results[0].resolution:g} points (80 % power) would take about "
        f"{number} seeds."
    )


def _about(number: int) -> int:
    """Rounded to two significant digits."""
    return int(float(f"{number:.2g}"))


def _cannot_tell(result: ContrastResult, pair: tuple[ValueResult, ValueResult], recipe: str) -> str:
    names = f"{result.value} against {result.reference}"
    for value in pair:
        if not value.n and value.collapsed:
            return f"Cannot tell: {names}; all runs of {value.value} ended at chance."
        if not value.n:
            return f"Cannot tell: {names}; no finished run of {value.value}."
    if result.difference is None:
        return f"Cannot tell: {names}; no seed has finished runs of both on one machine."
    ending = f"{points(result.difference, True)} points{f' ({recipe})' if recipe else ''}."
    if max(value.n + value.collapsed for value in pair) == 1:
        return f"One run each: cannot tell. {names}: {ending}"
    return (
        "Cannot tell: these runs do not show how much results vary between seeds. "
        f"{names}: {ending}"
    )


def headline(verdict: Verdict, recipe: str) -> Iterator[str]:
    """What is known, most important first."""
    if not any(value.n or value.collapsed for value in verdict.values):
        yield "No run has finished yet."
        return
    if verdict.interim:
        progress = verdict.progress
        yield f"Interim: {progress.finished} of {progress.planned} planned runs have finished."
    if not any(value.n for value in verdict.values):
        yield "All runs ended at chance: this recipe cannot tell which value is better."
    elif all(value.n + value.collapsed <= 1 for value in verdict.values):
        yield "One run each: cannot tell which value is better."
    elif all(value.n <= 1 for value in verdict.values):
        yield "At most one run each ended above chance: cannot tell which value is better."
    decided = [c for c in verdict.contrasts if c.decision in ("different", "same within margin")]
    decided.sort(key=lambda c: (c.decision, -abs(c.difference)))
    yield from (result.sentence for result in decided)
    open_ = [result for result in verdict.contrasts if result.decision == "not shown"]
    if len(open_) == 1:
        yield open_[0].sentence
    elif open_:
        values = {value.value: value for value in verdict.values}
        basis = _basis(open_, values, recipe)
        yield f"No clear difference ({basis}): {'; '.join(map(_named, open_))}. {_power(open_)}"
    for value in verdict.values:
        if value.collapsed:
            runs = value.n + value.collapsed
            yield f"{value.value} collapsed with {value.collapsed} of {_seeds(runs)}."


def _named(result: ContrastResult) -> str:
    return (
        f"{result.value} against {result.reference} {points(result.difference, True)} points "
        f"(95 %: {points(result.low)} to {points(result.high)})"
    )


def _seeds(number: int) -> str:
    return f"{number} seed" if number == 1 else f"{number} seeds"


def notes(verdict: Verdict) -> Iterator[str]:
    """Assumptions, and what was left out."""
    if verdict.spread_more:
        yield (
            "May spread more between seeds than the other values: "
            f"{', '.join(verdict.spread_more)} (Brown–Forsythe, not corrected for the number of "
            "values). As a precaution, the wider of Welch's and the pooled interval counts."
        )
    elif verdict.sd is not None:
        spreads = ", ".join(
            f"{value.value} {points(value.sd)}" for value in verdict.values if value.sd is not None
        )
        several = len(verdict.progress.machines) > 1
        of_machines = " after removing the machines' effects" if several else ""
        yield (
            "The intervals assume that accuracies spread alike for every value. "
            f"Standard deviations between seeds{of_machines}, in points: {spreads}."
        )
    single = [value for value in verdict.values if value.wilson]
    if single:
        ranges = ", ".join(
            f"{value.value} {value.wilson[0]:.2f} to {value.wilson[1]:.2f} %" for value in single
        )
        yield (
            f"One network; over other test images (95 %, Wilson): {ranges}. Training again with "
            "another seed is not in these intervals."
        )
    if verdict.correlation is not None:
        yield (
            f"Mean correlation between values over seeds: {points(verdict.correlation)}. The same "
            "seed gives the same order of images, and the same initial weights only where shapes "
            "agree."
        )
    yield from _origins(verdict.progress)
    if any(value.collapsed for value in verdict.values):
        yield "Runs that ended at chance (collapsed) are not in means, spreads and differences."
    for value in verdict.values:
        if value.left_out:
            yield f"Not counted, {value.value}: {'; '.join(value.left_out)}."


def _origins(progress: Progress) -> Iterator[str]:
    """Seeds that were not planned, and machines."""
    beyond = [
        f"{_seeds(len(seeds))} {how} ({', '.join(map(str, seeds))})"
        for how, seeds in (("added", progress.added), ("imported", progress.imported))
        if seeds
    ]
    if beyond:
        yield (
            f"Beyond the planned seeds: {' and '.join(beyond)}. If they were added after looking "
            "at the results, the intervals are somewhat too narrow."
        )
    if len(progress.machines) > 1:
        machines = "; ".join(f"{name} ({_seeds(seeds)})" for name, seeds in progress.machines)
        yield (
            f"Pooled from {len(progress.machines)} machines: {machines}. The same seed on another "
            "machine counts as another run; differences are taken within a machine."
        )
