"""Simulated studies: how often all intervals of a verdict hold, and how often an effect is found.

Every fast case is a sample of some hundred studies; most slow ones are the 2,000 that the bounds
are meant for.
"""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from engine.studies.results import Outcome
from engine.studies.verdict import verdict

EVEN, ODD_VALUE, ODD_BASELINE = "even", "one value 2.5 times", "the baseline 2.5 times"
CASES = list(itertools.product((3, 5, 7), (0, 0.5), (False, True)))  # values, correlation, failed


def simulate(
    studies, values, seeds, correlation, spreads, failed, effect=0.0, baseline="v0", machines=1
):
    """Verdicts of studies without differences, but for `effect` standard deviations of v1.

    failed: whether the last run of the last value, or with "baseline" of v0, has no result;
    machines: each with these seeds, and ten points better than the one before.
    """
    rng = np.random.default_rng([values, seeds, int(10 * correlation), bool(failed)])
    sds = np.full(values, 0.5)  # points
    sds[{EVEN: [], ODD_VALUE: [-1], ODD_BASELINE: [0]}[spreads]] *= 2.5
    lost = (0 if failed == "baseline" else values - 1, seeds - 1, machines - 1)
    for _ in range(studies):
        shared = math.sqrt(correlation) * rng.normal(size=(seeds, machines))
        own = math.sqrt(1 - correlation) * rng.normal(size=(values, seeds, machines))
        percents = 60 + sds[:, None, None] * (shared + own) + 10 * np.arange(machines)
        percents[1] += 0.5 * effect
        outcomes = {
            (v, s, m): Outcome(
                f"v{v}", s, percents[v, s, m] / 100, 0.1, 10_000, "finished", block=f"{m}"
            )
            for v, s, m in np.ndindex(percents.shape)
        }
        if failed:
            outcomes[lost] = dataclasses.replace(outcomes[lost], accuracy=None, state="failed")
        yield verdict(outcomes.values(), baseline, seeds=range(seeds))


def coverage(studies, *case, **options):
    """Share of studies, in percent, in which every interval holds the true difference 0."""
    verdicts = simulate(studies, *case, **options)
    return 100 * np.mean([all(c.low <= 0 <= c.high for c in v.contrasts) for v in verdicts])


def found(studies, values, seeds, correlation, failed):
    """Share of studies, in percent, in which an effect of 3 standard deviations is found."""
    verdicts = simulate(studies, values, seeds, correlation, EVEN, failed, effect=3)
    return 100 * np.mean([v.contrasts[0].decision == "different" for v in verdicts])


def margin_of(studies):
    """Three standard errors of a share near 95 % of that many studies, in percent."""
    return 300 * math.sqrt(0.95 * 0.05 / studies)


@pytest.mark.parametrize(("values", "seeds", "failed"), [(3, 3, True), (5, 5, False)])
def test_a_sample_with_equal_spreads(values, seeds, failed):
    share = coverage(200, values, seeds, 0.5, EVEN, failed)
    assert share == pytest.approx(95, abs=1.5 + margin_of(200))


def test_a_sample_with_unequal_spreads():
    assert coverage(200, 7, 5, 0, ODD_BASELINE, False) >= 93 - margin_of(200)


def test_a_sample_of_all_pairs():
    share = coverage(200, 4, 3, 0.5, EVEN, True, baseline=None)  # Tukey's
    assert share == pytest.approx(95, abs=1.5 + margin_of(200))


def test_a_sample_with_a_failed_run_of_the_baseline():
    share = coverage(200, 4, 3, 0.5, EVEN, "baseline")
    assert share == pytest.approx(95, abs=1.5 + margin_of(200))


@pytest.mark.parametrize("failed", [False, "baseline"])
def test_a_sample_of_two_machines_with_an_offset(failed):
    share = coverage(200, 4, 3, 0.5, EVEN, failed, machines=2)
    assert share == pytest.approx(95, abs=1.5 + margin_of(200))
    assert coverage(200, 4, 3, 0, ODD_VALUE, failed, machines=2) >= 93 - margin_of(200)


def test_a_sample_with_an_effect():
    assert found(100, 4, 5, 0, True) >= 80


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("values", "correlation", "failed"), CASES)
def test_equal_spreads(values, seeds, correlation, failed):
    share = coverage(2000, values, seeds, correlation, EVEN, failed)
    assert share == pytest.approx(95, abs=1.5)


@pytest.mark.slow
@pytest.mark.parametrize("values", [3, 5])
@pytest.mark.parametrize(
    ("seeds", "failed", "options"),
    [
        (3, True, {"baseline": None}),
        (5, False, {"baseline": None}),
        (3, "baseline", {}),
        (5, "baseline", {}),
        (3, False, {"machines": 2}),
        (3, "baseline", {"machines": 2}),
        (1, False, {"machines": 5}),
    ],
)
def test_other_designs_with_equal_spreads(values, seeds, failed, options):
    share = coverage(500, values, seeds, 0.5, EVEN, failed, **options)
    assert share == pytest.approx(95, abs=margin_of(500))


@pytest.mark.slow
@pytest.mark.parametrize("spreads", [ODD_VALUE, ODD_BASELINE])
@pytest.mark.parametrize(("seeds", "machines"), [(3, 2), (1, 6)])
def test_several_machines_with_unequal_spreads(seeds, machines, spreads):
    share = coverage(500, 4, seeds, 0, spreads, "baseline", machines=machines)
    assert share >= 93 - margin_of(500) / 2


@pytest.mark.slow
@pytest.mark.parametrize("spreads", [ODD_VALUE, ODD_BASELINE])
@pytest.mark.parametrize(("values", "correlation", "failed"), CASES)
def test_unequal_spreads(values, correlation, failed, spreads):
    assert coverage(2000, values, 5, correlation, spreads, failed) >= 93
    # Three seeds cannot show unequal spreads: the sentence says what it assumes, and the verdict's
    # docstring what was simulated (79 to 95 %; a share of 500 studies moves by 1.8).
    assert 75 <= coverage(500, values, 3, correlation, spreads, failed) <= 97


@pytest.mark.slow
@pytest.mark.parametrize(("values", "correlation", "failed"), CASES)
def test_an_effect_of_three_standard_deviations_is_found(values, correlation, failed):
    assert found(500, values, 5, correlation, failed) >= 80
