"""Least squares with blocks, simultaneous critical values, and intervals; numbers only.

Sources: Dunnett 1955 (a multiple comparison procedure with a control), Tukey 1949 and Kramer 1956,
Welch 1947, Brown and Forsythe 1974, Wilson 1927.
"""

from __future__ import annotations

import collections
import functools
import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

LEVEL = 0.95  # of every interval
_CHI_NODES, _NORMAL_NODES = 96, 48  # of the integrals below; error under 1e-5 from 2 df on
_ESTIMABLE = 1e-8


@dataclass(frozen=True)
class BlockFit:
    """Least-squares fit of accuracy = value + block."""

    effects: np.ndarray  # of each value, (values,); only their differences have a meaning
    unscaled: np.ndarray  # covariance of the effects over the variance, (values, values)
    projection: np.ndarray  # onto what the runs can estimate, (values, values)
    residuals: np.ndarray  # (runs,)
    variance: float  # of the residuals, pooled over values; nan without degrees of freedom
    df: int  # degrees of freedom of the variance

    def estimable(self, contrast: np.ndarray) -> bool:
        """Whether the runs connect the values of a contrast, (values,) with sum 0."""
        return bool(np.abs(contrast @ self.projection - contrast).max() < _ESTIMABLE)


def fit_blocks(
    accuracies: np.ndarray, values: np.ndarray, blocks: np.ndarray, block_term: bool = True
) -> BlockFit:
    """Fit accuracy = value + block; cells may be missing or repeated.

    accuracies: (runs,); values and blocks: index of each run's value and block, (runs,).
    block_term: False fits accuracy = value, the one-way analysis of variance.
    """
    k = int(values.max()) + 1
    design = np.eye(k)[values]
    if block_term:
        # Values are estimated after the blocks' means are taken out (Frisch, Waugh and Lovell).
        block = np.eye(int(blocks.max()) + 1)[blocks]
        counts = np.maximum(block.sum(0), 1)

        def center(columns: np.ndarray) -> np.ndarray:
            return columns - block @ ((block.T @ columns).T / counts).T

        n_blocks = int((block.sum(0) > 0).sum())
        design, targets = center(design), center(accuracies)
    else:
        n_blocks, targets = 0, accuracies
    gram = design.T @ design
    inverse = np.linalg.pinv(gram, rcond=1e-10, hermitian=True)
    effects = inverse @ design.T @ targets
    residuals = targets - design @ effects
    projection = inverse @ gram
    df = len(accuracies) - n_blocks - round(float(np.trace(projection)))
    variance = float(residuals @ residuals) / df if df > 0 else math.nan
    return BlockFit(effects, inverse, projection, residuals, variance, df)


def dunnett_probability(bound: float, df: float, loadings: tuple[float, ...]) -> float:
    """P(max |T_i| <= bound) for a multivariate t with correlations loadings_i · loadings_j.

    Comparisons with one baseline have this form exactly when there are no missing cells: loadings
    of √0.5 in a balanced study.
    """
    scale, scale_weights, normal, normal_weights = _nodes(df)
    inside = np.ones((len(scale), len(normal)))
    limits = bound * scale[:, None]
    for loading, count in collections.Counter(loadings).items():
        spread = math.sqrt(max(1 - loading**2, 1e-12))
        shift = loading * normal
        upper, lower = (limits + shift) / spread, (shift - limits) / spread
        inside *= (special.ndtr(upper) - special.ndtr(lower)) ** count
    return float(scale_weights @ inside @ normal_weights)


@functools.cache
def _nodes(df: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Nodes and weights for √(χ²/df) and for a standard normal variable."""
    points, weights = np.polynomial.legendre.leggauss(_CHI_NODES)
    # u = v³(4 - 3v) puts more nodes at small spreads, where large statistics come from.
    v = (points + 1) / 2
    scale = np.sqrt(stats.chi2.ppf(v**3 * (4 - 3 * v), df) / df)
    scale_weights = weights / 2 * 12 * v**2 * (1 - v)
    normal, normal_weights = np.polynomial.hermite_e.hermegauss(_NORMAL_NODES)
    return scale, scale_weights, normal, normal_weights / math.sqrt(2 * math.pi)


def loadings_of(correlation: np.ndarray) -> tuple[float, ...]:
    """Loadings whose products come closest to the correlations, (contrasts, contrasts)."""
    m = len(correlation)
    if m == 1:
        return (0.0,)
    off = correlation - np.diag(np.diag(correlation))
    if m == 2:
        root = math.sqrt(abs(off[0, 1]))
        return (round(math.copysign(root, off[0, 1]), 6), round(root, 6))
    loadings = np.full(m, math.sqrt(max(off.sum() / (m * (m - 1)), 0.01)))
    for _ in range(100):  # least squares for one loading after another
        before = loadings.copy()
        for i in range(m):
            rest = loadings @ loadings - loadings[i] ** 2
            loadings[i] = np.clip(off[i] @ loadings / rest, -0.999, 0.999) if rest else 0.0
        if np.abs(loadings - before).max() < 1e-8:
            break
    return tuple(np.round(loadings, 6))


@functools.cache
def dunnett_critical(df: float, loadings: tuple[float, ...], level: float = LEVEL) -> float:
    """Critical value of max |T_i|: simultaneous two-sided intervals against one baseline."""
    low = float(stats.t.ppf((1 + level) / 2, df))
    high = float(stats.t.ppf(1 - (1 - level) / (2 * len(loadings)), df))  # Bonferroni's
    if high - low < 1e-9:
        return low
    return optimize.brentq(
        lambda bound: dunnett_probability(bound, df, loadings) - level, 0.99 * low, 1.01 * high
    )


@functools.cache
def tukey_critical(df: float, values: int, level: float = LEVEL) -> float:
    """Critical value of |T| for all differences between `values` means."""
    return float(stats.studentized_range.ppf(level, values, df)) / math.sqrt(2)


def tukey_p(statistic: float, df: float, values: int) -> float:
    """Adjusted p of |T| among all differences between `values` means."""
    return float(stats.studentized_range.sf(abs(statistic) * math.sqrt(2), values, df))


def welch(a: np.ndarray, b: np.ndarray, comparisons: int) -> tuple[float, float]:
    """Half-width of the interval of mean(a) − mean(b), and p: Welch's test with Bonferroni.

    a, b: accuracies, (runs,) each, two or more; comparisons: number of intervals held at once.
    """
    parts = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])
    error = math.sqrt(parts.sum())
    if not error:
        return 0.0, float(a.mean() == b.mean())
    df = parts.sum() ** 2 / (parts**2 / [len(a) - 1, len(b) - 1]).sum()
    half = float(stats.t.ppf(1 - (1 - LEVEL) / (2 * comparisons), df)) * error
    p = 2 * float(stats.t.sf(abs(a.mean() - b.mean()) / error, df))
    return half, min(1.0, p * comparisons)


def spreads_more(groups: list[np.ndarray]) -> list[float]:
    """For each group, p of the hypothesis that it spreads no more than all the others together.

    Brown and Forsythe's distances from the median, one group against the rest, one-sided: with
    five seeds it finds one odd value where the test over all groups at once seldom does.
    """
    distances = [np.abs(group - np.median(group)) for group in groups]
    found = []
    for i, own in enumerate(distances):
        rest = np.concatenate([*distances[:i], *distances[i + 1 :], []])
        if len(own) < 2 or len(rest) < 2 or own.std() + rest.std() == 0:
            found.append(1.0)
        else:
            found.append(float(stats.ttest_ind(own, rest, alternative="greater").pvalue))
    return found


def two_way(means: np.ndarray, runs: np.ndarray, variance: float, df: int) -> list[float]:
    """p of no effect of the first factor, of the second, and of no interaction.

    means: of every combination, (first, second); runs: in each mean; variance: of the residuals of
    accuracy = combination + block, with df degrees of freedom. Yates's unweighted means: exact for
    equal numbers of runs.
    """
    first, second = means.mean(1, keepdims=True), means.mean(0, keepdims=True)
    whole = means.mean()
    parts = [first - whole, second - whole, means - first - second + whole]
    a, b = means.shape
    found = []
    for part, free in zip(parts, (a - 1, b - 1, (a - 1) * (b - 1)), strict=True):
        squares = (np.broadcast_to(part, means.shape) ** 2).sum() / (1 / runs).mean()
        found.append(float(stats.f.sf(squares / free / variance, free, df)))
    return found


def wilson(accuracy: float, images: int) -> tuple[float, float]:
    """95 % interval (Wilson 1927) of one network's accuracy over other images of the same source.

    accuracy: a fraction of `images`; the interval is in fractions as well.
    """
    found = stats.binomtest(round(accuracy * images), images).proportion_ci(LEVEL, method="wilson")
    return float(found.low), float(found.high)


def at_chance(accuracy: float, chance: float, images: int) -> bool:
    """Whether guessing would reach this accuracy (a fraction) in 1 of 1000 tests or more often."""
    return round(accuracy * images) <= _guessed(chance, images)


@functools.cache
def _guessed(chance: float, images: int) -> int:
    """Correct guesses that are exceeded in 1 of 1000 tests."""
    return int(stats.binom.ppf(0.999, images, chance))


def seeds_needed(
    sd: float, df: int, difference: float, comparisons: int, power: float = 0.8
) -> tuple[int, int]:
    """Seeds that show a difference with this power: a range, as sd itself is uncertain.

    sd: standard deviation of the residuals, in the unit of `difference`; df: its degrees of
    freedom. The range belongs to the 80 % interval of the standard deviation (chi-square).
    """
    spread = stats.norm.ppf(1 - (1 - LEVEL) / (2 * comparisons)) + stats.norm.ppf(power)
    ends = [sd**2 * df / float(stats.chi2.ppf(q, df)) for q in (0.9, 0.1)]
    low, high = (max(2, math.ceil(2 * spread**2 * end / difference**2)) for end in ends)
    return low, high
