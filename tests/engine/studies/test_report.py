"""Table, recipe and effects of a study, from outcomes made up for the purpose."""

import dataclasses

import numpy as np
import pytest

from engine.studies import report
from engine.studies.results import Outcome
from engine.studies.study import CROSS, Factor, Study, Value

NORMS = Factor(
    "Norm", (Value("batch", {"model.norm": "batch"}), Value("group", {"model.norm": "group"}))
)
ARCHS = Factor(
    "Architecture", tuple(Value(name, {"model.arch": name}) for name in ("resnet18", "resnet34"))
)
ONE = Study("norms", "Does the norm matter?", (NORMS,), {"epochs": 8}, baseline="batch")
GRID = Study("grid", "Do both matter?", (NORMS, ARCHS))
COLUMN = "Over other test images (95 %)"


def outcome(value, seed, percent, **changes):
    values = {"chance": 0.1, "n_images": 1000, "state": "finished"} | changes
    return Outcome(value, seed, percent / 100, **values)


def test_one_network_has_an_interval_over_other_test_images_in_a_column_of_its_own():
    found = report.verdict_of(ONE, [outcome("batch", 0, 90), outcome("group", 0, 80)])
    table = report.table(ONE, found)
    # Wilson's interval of 900 and 800 of 1000.
    assert table[COLUMN].tolist() == ["one network: 87.98 to 91.71", "one network: 77.41 to 82.36"]
    assert table["Difference (points)"].tolist() == ["baseline", "−10.0"]
    text = "\n".join(report.explanation(ONE, found))
    assert "over other test images (95 %, Wilson): batch 87.98 to 91.71 %" in text
    found = report.verdict_of(
        ONE, [outcome(name, seed, 80 + seed) for name in ("batch", "group") for seed in (0, 1)]
    )
    assert COLUMN not in report.table(ONE, found)


def test_the_recipe_of_equal_time_says_so():
    values = tuple(
        dataclasses.replace(value, settings={**value.settings, "epochs": epochs})
        for value, epochs in zip(NORMS.values, (5, 9), strict=True)
    )
    timed = dataclasses.replace(ONE, factors=(Factor("Norm", values),), equal="time")
    assert report.recipe(timed) == "width 1, equal time"
    assert report.recipe(dataclasses.replace(ONE, equal="time")) == "width 1, 8 epochs"
    epochs = tuple(Value(f"{number}", {"epochs": number}) for number in (1, 2))
    varied = Study("epochs", "How long?", (Factor("Epochs", epochs),), equal="time")
    assert report.recipe(varied) == "width 1"


def test_planned_and_added_seeds_are_those_of_the_study():
    study = dataclasses.replace(ONE, added_seeds=(3,))
    runs = [outcome(n, seed, 80 + seed) for n in ("batch", "group") for seed in (0, 1, 3)]
    found = report.verdict_of(study, runs)
    assert (found.interim, found.progress.added) == (True, (3,))
    assert found.headline[0] == "Interim: 4 of 6 planned runs have finished."


def test_a_value_without_runs_is_missing():
    found = report.verdict_of(ONE, [outcome("batch", seed, 80 + seed) for seed in range(3)])
    assert found.headline[0] == "Interim: 3 of 6 planned runs have finished."
    assert report.verdict_of(ONE, []).headline == ("No run has finished yet.",)


def grid_runs(noise=0.01):
    """Additive, with one seed six points better than the others."""
    rng = np.random.default_rng(0)
    return [
        outcome(f"{norm}{CROSS}{arch}", seed, 70 + 5 * i + 3 * j + bonus + noise * rng.normal())
        for seed, bonus in enumerate((0, 0, 6))
        for i, norm in enumerate(("batch", "group"))
        for j, arch in enumerate(("resnet18", "resnet34"))
    ]


def test_a_failed_run_of_a_good_seed_makes_no_interaction():
    found = report.verdict_of(GRID, grid_runs()[:-1])
    norm, arch, interaction = report.effects(GRID, found)
    assert "batch 73.50 %, group 78.5" in norm and "(shown, p < 0.001)" in norm
    assert "(shown" in arch
    assert "(not shown, p = " in interaction
    means = list(report.grid_means(GRID, found).values())
    assert means == pytest.approx([72, 75, 77, 80], abs=0.05)


def test_effects_wait_until_blocks_connect_all_combinations():
    alone = [run for run in grid_runs() if not run.value.startswith("batch") or run.seed]
    alone = [
        dataclasses.replace(run, block="own" if run.value.startswith("batch") else "other")
        for run in alone
    ]
    found = report.verdict_of(GRID, alone)
    assert report.effects(GRID, found) == []
    assert list(report.grid_means(GRID, found).values()) == pytest.approx(
        [73, 76, 77, 80], abs=0.05
    )
