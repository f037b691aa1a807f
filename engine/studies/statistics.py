"""Least squares with blocks, simultaneous critical values, and intervals; numbers only.

Sources: Dunnett 1955 (a multiple comparison procedure with a control), Tukey 1949 and Kramer 1956,
Welch 1947, Satterthwaite 1946, Brown and Forsythe 1974, Wilson 1927.
"""

from __future__ import annotations

import bisect
import collections
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

LEVEL = 0.95  # of every interval
_CHI_NODES, _NORMAL_NODES = 64, 65  # of the integrals below; error under 1e-5 from 2 df on
_NEGLIGIBLE = 1e-8
_MOST_SEEDS = 1000  # up to which the degrees of freedom matter to the power of a study


@dataclass(frozen=True)
class BlockFit:
    """Least-squares fit of accuracy = value + block."""

    effects: np.ndarray  # mean of each value, if every block had all values, (values,)
    weights: np.ndarray  # of each run in the differences between effects, (values, runs)
    projection: np.ndarray  # onto what the runs can estimate, (values, values)
    residuals: np.ndarray  # (runs,)
    leverage: np.ndarray  # of each run: share of its own accuracy in its fitted one, (runs,)
    variance: float  # of the residuals, pooled over values; nan without degrees of freedom
    df: int  # degrees of freedom of the variance

    @property
    def unscaled(self) -> np.ndarray:
        """Covariance of the effects over the variance, (values, values)."""
        return self.weights @ self.weights.T

    @property
    def connected(self) -> bool:
        """Whether all differences between values are estimable."""
        return round(float(np.trace(self.projection))) == len(self.effects) - 1

    def estimable(self, contrast: np.ndarray) -> bool:
        """Whether the runs connect the values of a contrast, (values,) with sum 0."""
        return bool(np.abs(contrast @ self.projection - contrast).max() < _NEGLIGIBLE)


def fit_blocks(accuracies: np.ndarray, values: np.ndarray, blocks: np.ndarray) -> BlockFit:
    """Fit accuracy = value + block; cells may be missing or repeated.

    accuracies: (runs,); values and blocks: index of each run's value and block, (runs,). A single
    block makes it the one-way analysis of variance.
    """
    design = np.eye(int(values.max()) + 1)[values]
    block = np.eye(int(blocks.max()) + 1)[blocks]
    counts = block.sum(0)

    def center(columns: np.ndarray) -> np.ndarray:
        return columns - block @ ((block.T @ columns).T / counts).T

    # Values are estimated after the blocks' means are taken out (Frisch, Waugh and Lovell).
    centered, targets = center(design), center(accuracies)
    gram = centered.T @ centered
    weights = np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ centered.T
    effects = weights @ targets
    residuals = targets - centered @ effects
    projection = weights @ centered
    leverage = 1 / counts[blocks] + (centered * weights.T).sum(1)
    df = len(accuracies) - len(counts) - round(float(np.trace(projection)))
    variance = float(residuals @ residuals) / df if df > 0 else math.nan
    level = (block.T @ (accuracies - design @ effects) / counts).mean()
    return BlockFit(effects + level, weights, projection, residuals, leverage, variance, df)


def own_variances(fit: BlockFit, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of each value's residuals, and its degrees of freedom, (values,) each.

    values: index of each run's value, (runs,). With a single block: the ordinary variance, and the
    number of runs − 1. nan where there are no degrees of freedom.
    """
    df = np.bincount(values, 1 - fit.leverage)
    squares = np.bincount(values, fit.residuals**2)
    known = df > _NEGLIGIBLE
    return np.where(known, squares / np.where(known, df, 1), math.nan), np.where(known, df, 0)


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
    scale = np.sqrt(special.gammaincinv(df / 2, v**3 * (4 - 3 * v)) * 2 / df)
    scale_weights = weights / 2 * 12 * v**2 * (1 - v)
    normal, step = np.linspace(-8, 8, _NORMAL_NODES, retstep=True)
    return scale, scale_weights, normal, stats.norm.pdf(normal) * step


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


def tukey_probability(bound: float, df: float, values: int) -> float:
    """P(max |T_ij| <= bound) over all differences between `values` means, √2 T the range's.

    As scipy.stats.studentized_range, a quantile of which takes 0.1 s: too long for a page that
    needs dozens of them (`seeds_needed`).
    """
    scale, scale_weights, normal, normal_weights = _nodes(df)
    lower = special.ndtr(normal - math.sqrt(2) * bound * scale[:, None])
    inside = (special.ndtr(normal) - lower) ** (values - 1)
    return values * float(scale_weights @ inside @ normal_weights)


@functools.cache
def tukey_critical(df: float, values: int, level: float = LEVEL) -> float:
    """Critical value of |T| for all differences between `values` means."""
    low = float(stats.t.ppf((1 + level) / 2, df))
    high = float(stats.t.ppf(1 - (1 - level) / (values * (values - 1)), df))  # Bonferroni's
    return optimize.brentq(
        lambda bound: tukey_probability(bound, df, values) - level, 0.99 * low, 1.01 * high
    )


def welch_critical(df: float, comparisons: int) -> float:
    """Critical value of |T| for each of so many comparisons (Bonferroni)."""
    return float(special.stdtrit(df, 1 - (1 - LEVEL) / (2 * comparisons)))


def welch(
    fit: BlockFit, values: np.ndarray, contrast: np.ndarray, comparisons: int
) -> tuple[float, float, float] | None:
    """Difference, half-width of its interval, and p: Welch's test with Bonferroni.

    Every value has a variance of its own; degrees of freedom are Satterthwaite's. With a single
    block it is the textbook's test. values: index of each run's value, (runs,); contrast:
    (values,); comparisons: number of intervals held at once. None if a variance is not known.
    """
    difference = float(contrast @ fit.effects)
    shares = np.bincount(values, (contrast @ fit.weights) ** 2)
    used = shares > _NEGLIGIBLE
    variances, df = (each[used] for each in own_variances(fit, values))
    if np.isnan(variances).any():
        return None
    parts = shares[used] * variances
    error = math.sqrt(parts.sum())
    if error < _NEGLIGIBLE:
        return difference, 0.0, float(abs(difference) < _NEGLIGIBLE)
    joint = parts.sum() ** 2 / (parts**2 / df).sum()
    p = 2 * float(stats.t.sf(abs(difference) / error, joint))
    return difference, welch_critical(joint, comparisons) * error, min(1.0, p * comparisons)


def spreads_more(groups: list[np.ndarray]) -> list[float]:
    """For each group, p of the hypothesis that it spreads no more than all the others together.

    Brown and Forsythe's distances from the median, one group against the rest, one-sided: with
    five seeds it finds one odd value where the test over all groups at once seldom does.
    """
    distances = [np.abs(group - np.median(group)) for group in groups]
    found = []
    for i, own in enumerate(distances):
        rest = np.concatenate([*distances[:i], *distances[i + 1 :], []])
        # Two values are equally far from their median, so their distances say nothing.
        if len(own) < 3 or len(rest) < 3 or own.std() + rest.std() < _NEGLIGIBLE:
            found.append(1.0)
        else:
            found.append(float(stats.ttest_ind(own, rest, alternative="greater").pvalue))
    return found


def joint_p(fit: BlockFit, contrasts: np.ndarray) -> float:
    """p of the hypothesis that all contrasts are 0: the F test of the fitted effects.

    contrasts: linearly independent and estimable, (contrasts, values).
    """
    estimates = contrasts @ fit.effects
    covariance = contrasts @ fit.unscaled @ contrasts.T
    squares = estimates @ np.linalg.solve(covariance, estimates)
    return float(stats.f.sf(squares / len(contrasts) / fit.variance, len(contrasts), fit.df))


def two_way(fit: BlockFit, cells: np.ndarray) -> list[float]:
    """p of no effect of the first factor, of the second, and of no interaction.

    cells: index of each combination among the fit's values, (first, second). The effect of one
    factor is that on its mean over the other, whatever the numbers of runs (type III).
    """
    a, b = cells.shape
    mean_a, mean_b = np.full((1, a), 1 / a), np.full((1, b), 1 / b)
    differences_a, differences_b = np.diff(np.eye(a), axis=0), np.diff(np.eye(b), axis=0)
    parts = [(differences_a, mean_b), (mean_a, differences_b), (differences_a, differences_b)]
    return [joint_p(fit, np.kron(*part)[:, np.argsort(cells, axis=None)]) for part in parts]


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
    sd: float,
    df: float,
    difference: float,
    growth: float,
    critical: Callable[[float], float],
    power: float = 0.8,
) -> tuple[int, int]:
    """Seeds of a new study that show a difference between two values with this power.

    A range, as sd itself is uncertain: it belongs to the 80 % interval of sd (chi-square).

    sd: standard deviation of the residuals, in the unit of `difference`; df: its degrees of
    freedom; growth: degrees of freedom that every seed after the first adds to the new study;
    critical: critical value of |T|, given the degrees of freedom.
    """
    ends = [sd * math.sqrt(df / float(stats.chi2.ppf(q, df))) for q in (0.9, 0.1)]
    low, high = (_seeds(end / difference, growth, critical, power) for end in ends)
    return low, high


def _seeds(ratio: float, growth: float, critical: Callable[[float], float], power: float) -> int:
    """Seeds that show a difference of 1 / ratio standard deviations (noncentral t)."""

    def enough(n: int) -> bool:
        df = growth * (n - 1)
        return special.nctdtr(df, math.sqrt(n / 2) / ratio, critical(df)) <= 1 - power

    if enough(_MOST_SEEDS):
        return bisect.bisect_left(range(_MOST_SEEDS), True, lo=2, key=enough)
    bound = critical(growth * (_MOST_SEEDS - 1))
    return math.ceil(2 * ((bound + stats.norm.ppf(power)) * ratio) ** 2)
