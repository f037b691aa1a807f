"""A verdict in words that a student can repeat. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from engine.studies.results import MIN_WELCH, ContrastResult, ValueResult, Verdict


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
    counts = sorted({value.n for value in pair})
    seeds = " and ".join(map(str, counts)) + (" seed" if counts == [1] else " seeds")
    alike = "assuming equal spreads" if max(counts) < MIN_WELCH else ""
    basis = "; ".join(part for part in (seeds, recipe, alike) if part)
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
        f"(95 %: {points(low)} to {points(high)}; {basis}). {_power(result)}"
    )


def _power(result: ContrastResult) -> str:
    low, high = map(_about, result.seeds_needed)
    number = f"{low} to {high}" if low != high else f"{low}"
    return (
        f"Detecting a difference of {result.resolution:g} points (80 % power) would take about "
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


def headline(verdict: Verdict, planned_seeds: int) -> Iterator[str]:
    """What is known, most important first."""
    if not any(value.n or value.collapsed for value in verdict.values):
        yield "No run has finished yet."
        return
    if verdict.interim:
        finished = sum(value.n + value.collapsed for value in verdict.values)
        planned = planned_seeds * len(verdict.values)
        yield f"Interim: {finished} of {planned} planned runs have finished."
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
        pairs = ", ".join(f"{result.value} against {result.reference}" for result in open_)
        yield f"No clear difference: {pairs}. {_power(open_[0])}"
    for value in verdict.values:
        if value.collapsed:
            runs = value.n + value.collapsed
            yield f"{value.value} collapsed with {value.collapsed} of {_seeds(runs)}."


def _seeds(number: int) -> str:
    return f"{number} seed" if number == 1 else f"{number} seeds"


def notes(verdict: Verdict, planned_seeds: int) -> Iterator[str]:
    """Assumptions, and what was left out."""
    if verdict.spread_more:
        yield (
            f"Spreads more between seeds than the other values: {', '.join(verdict.spread_more)} "
            "(Brown–Forsythe); its differences have the wider of Welch's and the pooled interval."
        )
    elif verdict.sd is not None:
        spreads = ", ".join(
            f"{value.value} {points(value.sd)}" for value in verdict.values if value.sd is not None
        )
        yield (
            "The intervals assume that accuracies spread alike for every value. "
            f"Standard deviations between seeds, in points: {spreads}."
        )
    if any(value.wilson for value in verdict.values):
        yield (
            "The interval of a single run (Wilson) says how much accuracy would vary with other "
            "test images; it does not include the spread between seeds."
        )
    if verdict.correlation is not None:
        yield (
            f"Mean correlation between values over seeds: {points(verdict.correlation)}. The same "
            "seed gives the same order of images, and the same initial weights only where shapes "
            "agree."
        )
    if verdict.seeds > planned_seeds:
        yield (
            f"{_seeds(verdict.seeds - planned_seeds)} beyond the {planned_seeds} planned; if they "
            "were added after looking at the results, the intervals are somewhat too narrow."
        )
    if any(value.collapsed for value in verdict.values):
        yield "Runs that ended at chance (collapsed) are not in means, spreads and differences."
    for value in verdict.values:
        if value.left_out:
            yield f"Not counted, {value.value}: {'; '.join(value.left_out)}."
