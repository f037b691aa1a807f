"""The verdict: decisions, sentences and what is left out; `test_coverage.py` simulates it."""

import dataclasses
import itertools

import numpy as np
import pytest
from scipy import stats

from engine.studies.results import Outcome
from engine.studies.verdict import verdict

# Percent by value and seed. A beats B by 2 points, C is like B.
TABLE = {"A": [92.1, 92.4, 91.9], "B": [90.2, 90.3, 89.8], "C": [90.1, 90.5, 89.9]}


def outcomes(table=TABLE, **changes):
    return [
        Outcome(value, seed, percent / 100, 0.1, 10_000, "finished", **changes)
        for value, row in table.items()
        for seed, percent in enumerate(row)
    ]


def decide(runs, baseline="B", seeds=3, **options):
    return verdict(runs, baseline, seeds=range(seeds), recipe="width 1/4, 8 epochs", **options)


def replace(runs, value, seed, **changes):
    chosen = (value, seed)
    return [
        dataclasses.replace(run, **changes) if (run.value, run.seed) == chosen else run
        for run in runs
    ]


def test_a_difference_is_told_with_its_interval_recipe_and_seeds():
    found = decide(outcomes())
    better, alike = found.contrasts
    assert (better.decision, alike.decision) == ("different", "not shown")
    assert better.sentence.startswith("A beats B by 2.0 points (95 %: ")
    assert "3 seeds; width 1/4, 8 epochs; assuming equal spreads)" in better.sentence
    assert better.low < better.difference < better.high
    assert alike.sentence.startswith(
        "No clear difference: C ended 0.07 points above B, which may be chance (95 %: −"
    )
    assert "points (80 % power) would take about" in alike.sentence
    assert (found.method, found.interim, found.df) == ("Dunnett", False, 4)


def test_the_winner_is_named_first_whichever_way_the_contrast_is():
    first = decide(outcomes(), contrasts=[("B", "A")], baseline=None).contrasts[0]
    other = decide(outcomes(), contrasts=[("A", "B")], baseline=None).contrasts[0]
    assert first.sentence == other.sentence
    assert (first.low, first.high) == (-other.high, -other.low)


def test_interval_p_and_decision_agree():
    rng = np.random.default_rng(0)
    for seeds, baseline in itertools.product((3, 5), ("v0", None)):
        for _ in range(20):
            noise = rng.normal(size=(4, seeds)) * rng.uniform(0.2, 2, size=(4, 1))
            table = {f"v{i}": 80 + i + noise[i] for i in range(4)}
            for result in decide(outcomes(table), baseline, seeds).contrasts:
                excludes_zero = result.low > 0 or result.high < 0
                assert excludes_zero == (result.p < 0.05) == (result.decision == "different")
                assert (" beats " in result.sentence) == excludes_zero


@pytest.mark.parametrize("swap", [False, True])
def test_without_seeds_in_the_model_it_is_scipys_dunnett(swap):
    # Dunnett 1955: blood counts in millions of cells per cubic millimeter, here 5 % for each.
    control = [7.40, 8.50, 7.20, 8.24, 9.84, 8.32]
    drugs = {"A": [9.76, 8.80, 7.68, 9.36], "B": [12.80, 9.68, 12.16, 9.20, 10.55]}
    table = {"control": control, **drugs}
    runs = outcomes({name: [5 * count for count in counts] for name, counts in table.items()})
    pairs = [("control", "A"), ("control", "B")] if swap else [("A", "control"), ("B", "control")]
    found = decide(runs, None, 4, contrasts=pairs, block_term=False)
    test = stats.dunnett(*drugs.values(), control=control, rng=np.random.default_rng(0))
    assert [c.p for c in found.contrasts] == pytest.approx(list(test.pvalue), abs=1e-3)
    interval = test.confidence_interval()
    low, high = (-interval.high, -interval.low) if swap else (interval.low, interval.high)
    assert [c.low / 5 for c in found.contrasts] == pytest.approx(low, abs=0.01)
    assert [c.high / 5 for c in found.contrasts] == pytest.approx(high, abs=0.01)


def test_contrasts_without_a_common_value_are_tukeys():
    found = decide(outcomes(), None)
    assert (found.method, len(found.contrasts)) == ("Tukey", 3)
    found = decide(outcomes(), None, block_term=False)
    test = stats.tukey_hsd(*TABLE.values())
    assert found.contrasts[0].p == pytest.approx(test.pvalue[1, 0], abs=1e-6)


def test_the_same_within_a_margin_needs_the_whole_interval_inside():
    wide, narrow = (decide(outcomes(), margin=margin).contrasts[1] for margin in (0.1, 2))
    assert wide.decision == "not shown"
    assert narrow.decision == "same within margin"
    assert narrow.sentence.startswith("C and B are the same within 2 points: ")
    both = decide(outcomes(), margin=5).contrasts[0]
    assert both.decision == "different"
    assert both.sentence.endswith("less than the margin of 5 points.")


def test_one_run_each_cannot_tell():
    found = decide(outcomes({value: row[:1] for value, row in TABLE.items()}))
    assert {c.decision for c in found.contrasts} == {"cannot tell"}
    assert found.contrasts[0].sentence.startswith("One run each: cannot tell.")
    assert found.contrasts[0].low is None and found.interim
    low, high = found.values[0].wilson
    assert low < 92.1 < high
    assert any(f"A {low:.2f} to {high:.2f} %, B " in note for note in found.notes)
    assert all(value.wilson is None for value in decide(outcomes()).values)


def test_a_collapsed_run_is_a_result_of_its_own():
    runs = replace(outcomes(), "C", 1, accuracy=0.1)
    found = decide(runs)
    assert (found.values[2].n, found.values[2].collapsed) == (2, 1)
    assert "C collapsed with 1 of 3 seeds." in found.headline
    assert found.sd < 1
    for seed in (0, 2):
        runs = replace(runs, "C", seed, accuracy=0.1)
    last = decide(runs).contrasts[1]
    assert (last.decision, last.difference) == ("cannot tell", None)
    assert "ended at chance" in last.sentence


def test_runs_that_all_collapsed_are_not_one_run_each():
    found = decide(outcomes({"A": [10, 10, 10], "B": [10, 10, 10]}))
    assert found.headline[0].startswith("All runs ended at chance")
    found = decide(outcomes({"A": [10, 10, 60], "B": [50, 10, 10]}))
    assert found.headline[0].startswith("At most one run each ended above chance")
    assert not any("One run each" in line for line in found.headline)
    assert not found.contrasts[0].sentence.startswith("One run each")


def test_failed_and_confounded_runs_are_left_out_with_the_reason():
    runs = replace(outcomes(), "C", 1, accuracy=None, state="failed")
    runs = replace(runs, "A", 0, confounds=("other precision",))
    found = decide(runs)
    assert found.values[0].left_out == ("seed 0: other precision",)
    assert found.values[2].left_out == ("seed 1: failed",)
    assert (found.values[0].n, found.interim) == (2, False)
    assert "Not counted, C: seed 1: failed." in found.notes
    found = decide(replace(runs, "B", 2, accuracy=None))
    assert found.values[1].left_out == ("seed 2: no accuracy stored",)


def test_before_the_planned_seeds_are_in_it_is_interim():
    runs = replace(outcomes(), "C", 2, accuracy=None, state="running")
    assert decide(runs).interim
    assert decide(runs).headline[0] == "Interim: 8 of 9 planned runs have finished."
    assert decide(runs).values[2].left_out == ()
    assert decide(outcomes(), seeds=4).interim
    assert decide([]).headline == ("No run has finished yet.",)


def test_several_open_differences_are_told_with_their_intervals_and_what_they_rest_on():
    table = {"A": [90.1, 90.4, 89.9, 90.2], "B": [90.2, 90.3, 89.8], "C": [90.1, 90.5, 89.9]}
    found = decide(outcomes(table))
    first, second = found.contrasts
    (sentence,) = found.headline
    assert sentence.startswith(
        "No clear difference (3 and 4 seeds; width 1/4, 8 epochs; assuming equal spreads): "
        f"A against B +{first.difference:.2f} points (95 %: −{-first.low:.1f} to {first.high:.1f});"
    )
    assert f"C against B +{second.difference:.2f} points (95 %: −" in sentence


def test_equal_spreads_are_assumed_if_one_of_the_pair_has_few_seeds():
    rng = np.random.default_rng(1)
    runs = outcomes({"A": 90 + rng.normal(size=6), "B": 90 + rng.normal(size=6)})
    assert "equal spreads" not in decide(runs, seeds=6).contrasts[0].sentence
    for seed in range(2, 6):
        runs = replace(runs, "A", seed, accuracy=None, state="failed")
    assert "assuming equal spreads" in decide(runs, seeds=6).contrasts[0].sentence


def test_a_planned_seed_that_is_missing_is_not_made_up_for_by_another():
    runs = outcomes({value: [*row, 90.0] for value, row in TABLE.items()})
    stopped = [
        dataclasses.replace(run, accuracy=None, state="stopped") if run.seed == 2 else run
        for run in runs
    ]
    found = decide(stopped, added_seeds=[3])
    assert found.interim
    assert found.headline[0] == "Interim: 6 of 9 planned runs have finished."
    assert any(
        note.startswith("Beyond the planned seeds: 1 seed added (3).") for note in found.notes
    )
    assert not decide(runs, added_seeds=[3]).interim


def test_the_planned_seeds_of_two_machines_are_not_beyond_the_plan():
    both = outcomes(block="a") + replace(outcomes(block="b"), "C", 2, state="running")
    found = decide(both)
    assert (found.progress.planned, found.progress.finished, found.interim) == (9, 9, False)
    assert not any("Beyond" in note for note in found.notes)
    assert any("Pooled from 2 machines: a (3 seeds); b (3 seeds)." in note for note in found.notes)
    found = decide(both, seeds=4)
    assert found.headline[0] == "Interim: 9 of 12 planned runs have finished."


def test_imported_seeds_are_counted_as_such():
    imported = [dataclasses.replace(run, seed=run.seed + 10, block="b") for run in outcomes()]
    found = decide(outcomes(block="a") + imported)
    assert (found.progress.added, found.progress.imported) == ((), (10, 11, 12))
    assert any("Beyond the planned seeds: 3 seeds imported (10, 11, 12)." in n for n in found.notes)


def test_an_offset_between_machines_changes_neither_spreads_nor_flags_nor_correlation():
    rng = np.random.default_rng(5)
    table = 80 + rng.normal(size=(3, 3)) * [[1], [1], [4]]
    other = 80 + rng.normal(size=(3, 3)) * [[1], [1], [4]]

    def pooled(offset):
        runs = [
            *outcomes(dict(zip("ABC", table, strict=True)), block="a"),
            *outcomes(dict(zip("ABC", other + offset, strict=True)), block="b"),
        ]
        return decide([run for run in runs if (run.value, run.seed, run.block) != ("A", 2, "b")])

    plain, shifted = pooled(0), pooled(9)
    assert shifted.sd == pytest.approx(plain.sd)
    assert [v.sd for v in shifted.values] == pytest.approx([v.sd for v in plain.values])
    assert shifted.spread_more == plain.spread_more == ("C",)
    assert shifted.correlation == pytest.approx(plain.correlation)
    assert [c.test for c in plain.contrasts] == ["Dunnett", "Welch"]
    for one, two in zip(plain.contrasts, shifted.contrasts, strict=True):
        assert (two.low, two.high) == pytest.approx((one.low, one.high))
        assert two.welch == pytest.approx(one.welch)
        assert two.seeds_needed == one.seeds_needed


def test_blocks_of_two_machines_add_up():
    shifted = {value: [percent + 3 for percent in row] for value, row in TABLE.items()}
    found = decide(outcomes(block="a") + outcomes(shifted, block="b"))
    assert (found.values[0].n, found.df) == (6, 10)
    assert found.contrasts[0].difference == pytest.approx(2.033, abs=0.01)
    assert found.sd < 0.5  # the machines' difference is no spread between seeds


def test_a_value_of_another_machine_alone_is_not_compared():
    found = decide(
        [
            dataclasses.replace(run, block=run.value if run.value == "A" else "")
            for run in outcomes()
        ]
    )
    assert [c.decision for c in found.contrasts] == ["cannot tell", "not shown"]
    assert "no seed has finished runs of both" in found.contrasts[0].sentence


def test_equal_accuracies_give_no_interval():
    found = decide(outcomes({"A": [90.0] * 3, "B": [80.0] * 3}))
    assert found.contrasts[0].decision == "cannot tell"


def test_a_value_that_spreads_more_gets_the_wider_interval():
    table = {
        "A": [92.1, 92.4, 91.9, 92.2, 92.0],
        "B": [90.2, 90.3, 89.8, 90.1, 90.0],
        "C": [93.0, 88.0, 90.0, 95.0, 85.0],
    }
    found = decide(outcomes(table), seeds=5)
    assert found.spread_more == ("C",)
    assert found.contrasts[1].test == "Welch"
    assert found.contrasts[0].test == "Dunnett"
    assert (found.contrasts[1].low, found.contrasts[1].high) == found.contrasts[1].welch
    assert any(note.startswith("May spread more") for note in found.notes)
    pooled, own = (contrast.seeds_needed for contrast in found.contrasts)
    assert own[0] > pooled[0] and own[1] > pooled[1]  # of the spreads of these two values alone
    assert "equal spreads" not in found.contrasts[1].sentence


def test_the_correlation_over_seeds_is_told():
    table = {value: np.array([1.0, 2, 4]) + 80 + i for i, value in enumerate("AB")}
    table["B"] = table["B"] + [0.1, 0, 0.2]
    found = decide(outcomes(table))
    assert found.correlation > 0.9
    assert any("correlation" in note for note in found.notes)
