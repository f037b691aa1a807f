"""Critical values, fits and intervals against SciPy's and published numbers."""

import math

import numpy as np
import pytest
from scipy import stats

from engine.studies import statistics

HALF = (round(math.sqrt(0.5), 6),)


# Two-sided 5 % critical values of Dunnett 1964, table II: (df, comparisons, value).
@pytest.mark.parametrize(
    ("df", "m", "expected"),
    [(5, 2, 3.03), (10, 3, 2.76), (20, 6, 2.80), (5, 1, 2.57)],
)
def test_dunnett_critical_values_are_the_published_ones(df, m, expected):
    loadings = HALF * m if m > 1 else (0.0,)
    assert statistics.dunnett_critical(df, loadings) == pytest.approx(expected, abs=0.011)


@pytest.mark.parametrize("df", [1, 2, 8, 30])
def test_a_single_comparison_is_students_t(df):
    expected = 1 - 2 * stats.t.sf(3, df)
    assert statistics.dunnett_probability(3, df, (0.0,)) == pytest.approx(expected, abs=1e-8)


def test_loadings_reproduce_correlations_with_one_baseline():
    loadings = np.array([0.5, 0.6, 0.7, 0.8])
    correlation = np.outer(loadings, loadings)
    np.fill_diagonal(correlation, 1)
    assert statistics.loadings_of(correlation) == pytest.approx(loadings, abs=1e-4)


def test_a_balanced_fit_gives_differences_of_means():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(4, 3)) + rng.normal(size=3)
    values, blocks = np.indices(table.shape).reshape(2, -1)
    fit = statistics.fit_blocks(table.ravel(), values, blocks)
    assert np.diff(fit.effects) == pytest.approx(np.diff(table.mean(1)))
    residuals = table - table.mean(1, keepdims=True) - table.mean(0) + table.mean()
    assert fit.df == 6
    assert fit.variance == pytest.approx((residuals**2).sum() / 6)


def test_a_missing_cell_is_fitted_by_least_squares():
    rng = np.random.default_rng(1)
    values, blocks = np.indices((3, 4)).reshape(2, -1)[:, 1:]
    accuracies = rng.normal(size=11)
    fit = statistics.fit_blocks(accuracies, values, blocks)
    design = np.hstack([np.eye(3)[values], np.eye(4)[blocks][:, 1:]])
    solution, squares, rank, _ = np.linalg.lstsq(design, accuracies)
    assert np.diff(fit.effects) == pytest.approx(np.diff(solution[:3]))
    assert fit.df == 11 - rank
    assert fit.variance == pytest.approx(squares[0] / fit.df)


def test_values_that_share_no_block_cannot_be_compared():
    fit = statistics.fit_blocks(np.array([1.0, 2, 3, 4]), np.array([0, 0, 1, 1]), np.arange(4))
    assert not fit.estimable(np.array([1.0, -1]))


def test_welch_is_scipys():
    a, b = np.array([1.0, 2, 4, 3]), np.array([5.0, 9, 2, 7, 1])
    half, p = statistics.welch(a, b, 1)
    test = stats.ttest_ind(a, b, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert p == pytest.approx(test.pvalue)
    assert half == pytest.approx((interval.high - interval.low) / 2)


def test_wilson_is_newcombes_example():
    """Newcombe 1998, Statistics in Medicine 17, table I: 81 of 263."""
    assert statistics.wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)


@pytest.mark.parametrize(
    ("accuracy", "images", "expected"),
    [(0.1, 10_000, True), (0.1087, 10_000, True), (0.12, 10_000, False), (0.12, 500, True)],
)
def test_chance_depends_on_the_number_of_images(accuracy, images, expected):
    assert statistics.at_chance(accuracy, 0.1, images) is expected


def test_one_value_with_a_larger_spread_is_found():
    rng = np.random.default_rng(0)
    groups = [rng.normal(size=50), rng.normal(size=50), 5 * rng.normal(size=50)]
    p = statistics.spreads_more(groups)
    assert p[2] < 1e-6 < 0.2 < min(p[:2])
    assert statistics.spreads_more([np.ones(5), np.ones(5)]) == [1.0, 1.0]


def test_more_seeds_are_needed_for_a_smaller_difference_and_the_range_narrows_with_data():
    low, high = statistics.seeds_needed(0.3, 4, 0.5, 1)
    assert statistics.seeds_needed(0.3, 4, 0.25, 1)[0] > low
    narrow = statistics.seeds_needed(0.3, 100, 0.5, 1)
    assert low <= narrow[0] <= narrow[1] <= high


def fitted(design, targets):
    return design @ np.linalg.lstsq(design, targets)[0]


def test_a_grid_is_tested_as_by_comparison_of_nested_models():
    rng = np.random.default_rng(2)
    a, b, block = np.indices((3, 2, 4)).reshape(3, -1)
    y = rng.normal(size=24) + 0.5 * a + block + a * b
    blocks, both = np.eye(4)[block], np.eye(6)[2 * a + b]
    fits = {
        name: fitted(np.hstack([blocks, *terms]), y)
        for name, terms in {
            "whole": [both],
            "sum": [np.eye(3)[a], np.eye(2)[b]],
            "a": [np.eye(3)[a]],
            "b": [np.eye(2)[b]],
        }.items()
    }
    squares = {name: ((y - fit) ** 2).sum() for name, fit in fits.items()}
    variance = squares["whole"] / 15
    drops = [("b", "sum", 2), ("a", "sum", 1), ("sum", "whole", 2)]
    expected = [
        stats.f.sf((squares[less] - squares[more]) / df / variance, df, 15)
        for less, more, df in drops
    ]
    means = y.reshape(3, 2, 4).mean(2)
    found = statistics.two_way(means, np.full((3, 2), 4), variance, 15)
    assert found == pytest.approx(expected)
