"""What the runs of a study say, and how sure it is. Pure: outcomes in, statistics and words out.

The model is accuracy = value + block, where a block holds the runs of one seed on one machine; the
variance of the residuals is pooled. Differences have simultaneous 95 % intervals: Dunnett's if all
contrasts share one value, Tukey's otherwise. From MIN_WELCH seeds on, Welch's test with Bonferroni
stands beside, and for a value that may spread more than the others (Brown and Forsythe) the wider
interval counts. Spreads of single values, for these two and for the table, are those of the
residuals of accuracy = value + machine. A sentence comes from the same test as the interval that it
quotes.

Simulated with 3 to 7 values, correlations of 0 and 0.5 between values, with and without a failed
run: all intervals hold in 94 to 96.5 % of studies with equal spreads. If one value spreads 2.5
times as much as the others, they hold in 94 to 98 % with 5 seeds, and in 79 to 95 % with 3
(fewest where seven values are compared with a baseline that spreads more). All pairs, a failed run
of the baseline, and two to six machines of different accuracy: 94 to 97 % with equal spreads, and
93 to 97 % with unequal ones and six blocks.

Sources:

- Bouthillier et al. 2021 (arXiv 2103.03098): results vary with initialization, order of data and
  augmentation; a comparison has to take this variance into account, so one run each cannot tell.
- Summers and Dinneen 2021 (arXiv 2103.04514): every source of nondeterminism, down to one bit of
  the initial weights, varies results about as much as all of them together. A seed is therefore a
  repetition and no pairing of values, and the same seed on another machine is one more repetition.
- Jordan 2023 (arXiv 2304.01910): accuracies of repeated trainings vary on one test set far more
  than they would on the whole distribution of images. Training again and other test images are two
  uncertainties, and their intervals are not mixed.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np

from engine.studies import sentences, statistics
from engine.studies.results import (
    ENDED,
    MIN_WELCH,
    ContrastResult,
    Outcome,
    Progress,
    ValueResult,
    Verdict,
)

SPREADS_DIFFER = 0.15  # p below which the wider interval counts; chosen by simulation
RESOLUTION = 0.5  # points; the difference that power is stated for, unless a margin is set
BALANCED = (round(math.sqrt(0.5), 6),)  # loading of each comparison if no run is missing
PENDING = ("queued", "running", "waiting", "paused")  # not listed as left out

Pair = tuple[str, str]  # value, reference


def verdict(
    outcomes: Iterable[Outcome],
    baseline: str | None = None,
    contrasts: Sequence[Pair] = (),
    *,
    seeds: Sequence[int],
    added_seeds: Sequence[int] = (),
    values: Sequence[str] = (),
    margin: float | None = None,
    recipe: str = "",
    block_term: bool = True,
) -> Verdict:
    """Statistics and sentences of a study.

    outcomes: of all runs; baseline: every other value is compared with it; contrasts: further
    pairs (value, reference). Without both: all pairs. seeds: fixed in advance; added_seeds: added
    after results were seen; values: all that are planned, in the order of the table, by default
    those of the outcomes; margin: differences, in points, that count as none; recipe: for the
    sentences, such as "width 1/4, 8 epochs"; block_term: False leaves the seeds out of the model,
    and Welch's test, for comparison with scipy.stats.dunnett.
    """
    outcomes = tuple(outcomes)
    names = list(values or dict.fromkeys(outcome.value for outcome in outcomes))
    pairs = _pairs(names, baseline, contrasts)
    counted = [outcome for outcome in outcomes if outcome.counts]
    comparison = Comparison(counted, pairs, margin, block_term)
    found = {name: _value_result(name, outcomes, comparison.own_sd(name)) for name in names}
    results = [comparison.contrast(pair) for pair in pairs]
    whole = Verdict(
        values=tuple(found.values()),
        contrasts=tuple(
            dataclasses.replace(result, sentence=sentences.contrast(result, found, recipe, margin))
            for result in results
        ),
        headline=(),
        notes=(),
        progress=_progress(outcomes, names, seeds, added_seeds),
        method=comparison.method,
        sd=comparison.sd,
        df=comparison.df,
        spread_more=comparison.spread_more,
        correlation=_correlation(counted),
        fitted=tuple(comparison.names),
        fit=comparison.fit,
    )
    return dataclasses.replace(
        whole,
        headline=tuple(sentences.headline(whole, recipe)),
        notes=tuple(sentences.notes(whole)),
    )


def _pairs(names: list[str], baseline: str | None, contrasts: Sequence[Pair]) -> list[Pair]:
    """All contrasts, each once."""
    pairs = [(name, baseline) for name in names if baseline in names and name != baseline]
    pairs += [pair for pair in contrasts if set(pair) <= set(names)]
    if not pairs:
        pairs = [(b, a) for i, a in enumerate(names) for b in names[i + 1 :]]
    return list({frozenset(pair): pair for pair in pairs}.values())


def _progress(
    outcomes: Sequence[Outcome], names: list[str], seeds: Sequence[int], added: Sequence[int]
) -> Progress:
    def planned(kept: Callable[[Outcome], bool]) -> int:
        return len({(o.value, o.seed) for o in outcomes if kept(o) and o.seed in seeds})

    results = [o for o in outcomes if o.finished and not o.confounds]
    used = sorted({o.seed for o in results})
    machines = dict.fromkeys(o.block for o in results)
    return Progress(
        planned=len(names) * len(seeds),
        ended=planned(lambda o: o.state in ENDED),
        finished=planned(lambda o: o.finished),
        added=tuple(seed for seed in used if seed in added),
        imported=tuple(seed for seed in used if seed not in (*seeds, *added)),
        machines=tuple(
            (machine, len({o.seed for o in results if o.block == machine})) for machine in machines
        ),
    )


def _value_result(name: str, outcomes: Sequence[Outcome], sd: float | None) -> ValueResult:
    runs = [outcome for outcome in outcomes if outcome.value == name]
    counted = [run for run in runs if run.counts]
    percents = np.array([100 * run.accuracy for run in counted])
    reasons = [
        (run, ", ".join(run.confounds) or _state(run))
        for run in runs
        if run.confounds or not (run.finished or run.state in PENDING)
    ]
    wilson = None
    if len(counted) == 1:
        low, high = statistics.wilson(counted[0].accuracy, counted[0].n_images)
        wilson = (100 * low, 100 * high)
    return ValueResult(
        value=name,
        n=len(counted),
        mean=float(percents.mean()) if counted else None,
        sd=sd,
        collapsed=sum(not run.confounds and run.collapsed for run in runs),
        left_out=tuple(f"seed {run.seed}: {reason}" for run, reason in reasons),
        wilson=wilson,
    )


def _state(run: Outcome) -> str:
    return "no accuracy stored" if run.state == "finished" else run.state


class Comparison:
    """The test of a family of contrasts on the runs that count."""

    def __init__(
        self,
        runs: Sequence[Outcome],
        pairs: Sequence[Pair],
        margin: float | None,
        block_term: bool,
    ):
        self.margin, self.resolution = margin, margin or RESOLUTION
        self.names = list(dict.fromkeys(run.value for run in runs))
        self.index = _codes([run.value for run in runs])
        self.fit = self.within = None
        blocks = _codes([(run.block, run.seed) if block_term else None for run in runs])
        if runs:
            accuracies = np.array([100 * run.accuracy for run in runs])
            machines = _codes([run.block for run in runs])
            self.fit = statistics.fit_blocks(accuracies, self.index, blocks)
            self.within = statistics.fit_blocks(accuracies, self.index, machines)
        self.df = self.fit.df if self.fit else 0
        variance = self.fit.variance if self.df > 0 else 0.0
        self.sd = math.sqrt(variance) if variance > 1e-12 else None  # None: nothing can be told
        self.vectors = {pair: self._vector(pair) for pair in pairs}
        self.pairs = [pair for pair, vector in self.vectors.items() if vector is not None]
        shared = set.intersection(*map(set, self.pairs)) if self.pairs else set()
        self.method = "Dunnett" if shared else "Tukey"
        self.loadings = self._loadings() if self.pairs else ()
        self.spreads: dict[str, float] | None = None
        if len(set(blocks)) >= MIN_WELCH:
            residuals = [self.within.residuals[self.index == i] for i in range(len(self.names))]
            p = statistics.spreads_more(residuals)
            self.spreads = dict(zip(self.names, p, strict=True))

    def _vector(self, pair: Pair) -> np.ndarray | None:
        """The contrast over `names`; None if no seed connects its two values."""
        if not set(pair) <= set(self.names):
            return None
        vector = np.zeros(len(self.names))
        vector[self.names.index(pair[0])], vector[self.names.index(pair[1])] = 1, -1
        return vector if self.fit.estimable(vector) else None

    def _loadings(self) -> tuple[float, ...]:
        # Differences from the shared value, whichever way the pair is written.
        shared = set.intersection(*map(set, self.pairs))
        signs = [-1 if pair[0] in shared and len(shared) == 1 else 1 for pair in self.pairs]
        matrix = np.array(
            [sign * self.vectors[pair] for sign, pair in zip(signs, self.pairs, strict=True)]
        )
        covariance = matrix @ self.fit.unscaled @ matrix.T
        scale = np.sqrt(np.diag(covariance))
        return statistics.loadings_of(covariance / np.outer(scale, scale))

    @property
    def spread_more(self) -> tuple[str, ...] | None:
        """Values that spread more than the others; None below MIN_WELCH seeds."""
        if self.spreads is None:
            return None
        return tuple(name for name, p in self.spreads.items() if p < SPREADS_DIFFER)

    def own_sd(self, name: str) -> float | None:
        """Standard deviation of a value's runs on one machine, in points; None below two runs."""
        if name not in self.names:
            return None
        variances, _ = statistics.own_variances(self.within, self.index)
        variance = variances[self.names.index(name)]
        return None if math.isnan(variance) else math.sqrt(variance)

    def contrast(self, pair: Pair) -> ContrastResult:
        """Difference, interval, p and decision of one contrast."""
        vector = self.vectors[pair]
        if vector is None:
            return ContrastResult(*pair, None, None, None, None, "cannot tell", "")
        difference = float(vector @ self.fit.effects)
        if self.sd is None:
            return ContrastResult(*pair, difference, None, None, None, "cannot tell", "")
        error = self.sd * math.sqrt(vector @ self.fit.unscaled @ vector)
        center, half, p, test = difference, *self._pooled(difference / error, error), self.method
        beside = self._welch(pair)
        odd = set(pair) & set(self.spread_more or ())
        if beside and odd and beside[1] > half:
            center, half, p, test = *beside, "Welch"
            seeds = self._seeds_needed_by_welch(pair)
        else:
            seeds = self._seeds_needed
        return ContrastResult(
            *pair,
            center,
            center - half,
            center + half,
            p,
            _decision(center, half, self.margin),
            test,
            welch=(beside[0] - beside[1], beside[0] + beside[1]) if beside else None,
            seeds_needed=seeds,
            resolution=self.resolution,
        )

    def _pooled(self, statistic: float, error: float) -> tuple[float, float]:
        """Half-width of the simultaneous interval, and the adjusted p."""
        if self.method == "Tukey":
            inside = statistics.tukey_probability(abs(statistic), self.df, len(self.names))
        else:
            inside = statistics.dunnett_probability(abs(statistic), self.df, self.loadings)
        return self._critical(self.df, self.loadings) * error, max(1 - inside, 0.0)

    def _critical(self, df: float, loadings: tuple[float, ...]) -> float:
        if self.method == "Tukey":
            return statistics.tukey_critical(df, len(self.names))
        return statistics.dunnett_critical(df, loadings)

    def _welch(self, pair: Pair) -> tuple[float, float, float] | None:
        """Difference, half-width and p of Welch's test; None below MIN_WELCH seeds."""
        if self.spreads is None:
            return None
        vector = self.vectors[pair]
        return statistics.welch(self.within, self.index, vector, len(self.pairs))

    @functools.cached_property
    def _seeds_needed(self) -> tuple[int, int]:
        """Seeds of a study of the same values without missing runs, by the pooled test."""
        number = len(self.pairs)
        loadings = BALANCED * number if number > 1 else (0.0,)
        return statistics.seeds_needed(
            self.sd,
            self.df,
            self.resolution,
            growth=len(self.names) - 1,
            critical=lambda df: self._critical(df, loadings),
        )

    def _seeds_needed_by_welch(self, pair: Pair) -> tuple[int, int]:
        """The same by Welch's test, from the spreads of the two values."""
        chosen = [self.names.index(name) for name in pair]
        variances, df = (each[chosen] for each in statistics.own_variances(self.within, self.index))
        squares = variances.sum() ** 2
        return statistics.seeds_needed(
            math.sqrt(variances.mean()),
            squares / (variances**2 / df).sum(),
            self.resolution,
            growth=squares / (variances**2).sum(),
            critical=lambda df: statistics.welch_critical(df, len(self.pairs)),
        )


def _codes(keys: Sequence[Hashable]) -> np.ndarray:
    """Index of each key among the different ones, in the order of their first use."""
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys], dtype=int)


def _decision(center: float, half: float, margin: float | None) -> str:
    if abs(center) > half:
        return "different"
    if margin and abs(center) + half < margin:
        return "same within margin"
    return "not shown"


def _correlation(runs: Sequence[Outcome]) -> float | None:
    """Mean correlation between two values' accuracies over the seeds of a machine.

    Over the blocks that have all values, after the mean of each value on each machine is taken out.
    """
    names = sorted({run.value for run in runs})
    cells = {(run.value, run.block, run.seed): 100 * run.accuracy for run in runs}
    blocks = sorted({(run.block, run.seed) for run in runs})
    whole = [block for block in blocks if all((name, *block) in cells for name in names)]
    machines = _codes([machine for machine, _ in whole])
    if len(whole) - len(set(machines)) < 2 or len(names) < 2:
        return None
    table = np.array([[cells[(name, *block)] for block in whole] for name in names])
    same = np.equal.outer(machines, machines)
    table -= table @ (same / same.sum(0))
    if (table.std(1) < 1e-9).any():
        return None
    return float(np.corrcoef(table)[np.triu_indices(len(names), 1)].mean())
