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
    values = np.array([0] * 4 + [1] * 5)
    fit = statistics.fit_blocks(np.concatenate([a, b]), values, np.zeros(9, dtype=int))
    difference, half, p = statistics.welch(fit, values, np.array([1, -1]), 1)
    test = stats.ttest_ind(a, b, equal_var=False)
    interval = test.confidence_interval(0.95)
    assert (difference, p) == pytest.approx((a.mean() - b.mean(), test.pvalue))
    assert half == pytest.approx((interval.high - interval.low) / 2)


def test_welch_with_one_seed_per_machine_is_the_paired_test():
    a, b = np.array([1.0, 2, 4, 3, 7]), np.array([5.0, 9, 2, 7, 1])
    values, machines = np.indices((2, 5)).reshape(2, -1)
    fit = statistics.fit_blocks(np.concatenate([a, b]), values, machines)
    _, half, p = statistics.welch(fit, values, np.array([1, -1]), 1)
    test = stats.ttest_rel(a, b)
    assert p == pytest.approx(test.pvalue)
    interval = test.confidence_interval(0.95)
    assert half == pytest.approx((interval.high - interval.low) / 2)


@pytest.mark.parametrize(("df", "values"), [(2, 3), (12, 7), (40, 64)])
def test_tukeys_probabilities_are_scipys(df, values):
    critical = stats.studentized_range.ppf(0.95, values, df) / math.sqrt(2)
    assert statistics.tukey_critical(df, values) == pytest.approx(critical, rel=1e-6)
    assert statistics.tukey_probability(critical, df, values) == pytest.approx(0.95, abs=1e-7)


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
    two_sided = stats.levene(groups[2], groups[0], center="median").pvalue
    assert statistics.spreads_more([groups[0], groups[2]])[1] == pytest.approx(two_sided / 2)


def t_critical(df):
    return stats.t.ppf(0.975, df)


def test_more_seeds_are_needed_for_a_smaller_difference_and_the_range_narrows_with_data():
    low, high = statistics.seeds_needed(0.3, 4, 0.5, 2, t_critical)
    assert statistics.seeds_needed(0.3, 4, 0.25, 2, t_critical)[0] > low
    narrow = statistics.seeds_needed(0.3, 100, 0.5, 2, t_critical)
    assert low <= narrow[0] <= narrow[1] <= high


@pytest.mark.parametrize(("difference", "published"), [(1.2, 12), (0.8, 26), (0.5, 64)])
def test_the_number_of_seeds_is_that_of_cohens_tables(difference, published):
    """Cohen 1988, table 2.4.1: two independent samples, 5 % two-sided, power 0.8."""
    found = statistics.seeds_needed(1, 1e9, difference, 2, t_critical)
    assert found == pytest.approx((published, published), abs=0.5)


def test_so_many_seeds_find_the_difference_by_the_test_that_is_used():
    def critical(df):
        return statistics.dunnett_critical(df, HALF * 3)

    n, _ = statistics.seeds_needed(1, 1e9, 2, 3, critical)
    rng = np.random.default_rng(0)
    share = {}
    for seeds in (n - 1, n):
        accuracies = rng.normal(size=(20_000, 4, seeds))
        accuracies[:, 1] += 2
        means = accuracies.mean(2, keepdims=True)
        rest = accuracies - means - accuracies.mean(1, keepdims=True)
        rest += accuracies.mean((1, 2), keepdims=True)
        df = 3 * (seeds - 1)
        error = np.sqrt((rest**2).sum((1, 2)) / df * 2 / seeds)
        share[seeds] = (abs(means[:, 1] - means[:, 0])[:, 0] / error > critical(df)).mean()
    assert share[n - 1] < 0.8 <= share[n] + 0.01


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
    fit = statistics.fit_blocks(y, 2 * a + b, block)
    assert statistics.two_way(fit, np.arange(6).reshape(3, 2)) == pytest.approx(expected)
    order = np.array([3, 0, 5, 1, 4, 2])  # of the values, other than that of the grid
    fit = statistics.fit_blocks(y, order[2 * a + b], block)
    assert statistics.two_way(fit, order.reshape(3, 2)) == pytest.approx(expected)


def test_the_interaction_with_a_missing_run_is_that_of_nested_models():
    rng = np.random.default_rng(2)
    a, b, block = np.indices((3, 2, 4)).reshape(3, -1)[:, :-1]
    y = rng.normal(size=23) + 0.5 * a + 3 * block
    blocks = np.eye(4)[block]
    whole, less = (
        ((y - fitted(np.hstack([blocks, *terms]), y)) ** 2).sum()
        for terms in ([np.eye(6)[2 * a + b]], [np.eye(3)[a], np.eye(2)[b]])
    )
    fit = statistics.fit_blocks(y, 2 * a + b, block)
    found = statistics.two_way(fit, np.arange(6).reshape(3, 2))[2]
    assert found == pytest.approx(stats.f.sf((less - whole) / 2 / (whole / 14), 2, 14))
