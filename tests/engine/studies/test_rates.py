"""Fair rates: the search for each value's learning rate, and what it chooses."""

import dataclasses

import pytest

from engine.errors import ConfigError, StudyError
from engine.studies import plan, rates, report
from engine.studies.results import Outcome
from engine.studies.study import CROSS, Factor, Study, Value

NORMS = Factor("Norm", tuple(Value(norm, {"model.norm": norm}) for norm in ("batch", "group")))
STUDY = Study(
    "norms", "Does the norm matter?", (NORMS,), {"optim.lr": 0.3, "data.limit": 500}, "batch",
    fair_rates=True,
)  # fmt: skip
SEARCH = rates.search(STUDY, 50_000)


def outcomes(accuracies: dict[tuple[str, str], float]) -> list[Outcome]:
    return [
        Outcome(CROSS.join(names), rates.FIRST_SEED, accuracy, 0.1, 5_000, "finished")
        for names, accuracy in accuracies.items()
    ]


def test_the_search_is_a_grid_on_held_out_images_with_a_seed_of_its_own():
    configs = [SEARCH.config(row, seed) for _, row, seed in SEARCH.runs()]
    assert [config.optim.lr for config in configs] == pytest.approx([0.1, 0.3, 0.9] * 2)
    assert [config.model.norm for config in configs] == ["batch"] * 3 + ["group"] * 3
    assert {(c.data.holdout, c.data.limit) for c in configs} == {(5_000, 500)}
    taken = dataclasses.replace(STUDY, seeds=(0, rates.FIRST_SEED))
    assert not set(rates.search(taken, 100).seeds) & set(taken.seeds)
    assert not rates.missing(SEARCH)


def test_each_value_gets_the_rate_that_was_best_for_it():
    found = {("batch", "lr 0.1"): 0.5, ("batch", "lr 0.3"): 0.4, ("group", "lr 0.9"): 0.3}
    fair = rates.fair(STUDY, SEARCH, outcomes(found))
    assert [fair.config(row, 0).optim.lr for row in fair.rows()] == pytest.approx([0.1, 0.9])
    assert rates.missing(STUDY) and not rates.missing(fair)
    assert fair.config(fair.rows()[0], 0).data.holdout == 0
    assert "(batch 0.1, group 0.9)" in report.explanation(fair, report.verdict_of(fair, []))[-1]
    assert "own learning rate" in report.recipe(fair)
    assert rates.search(fair, 50_000).runs()[0][0] == SEARCH.runs()[0][0]
    with pytest.raises(StudyError, match="group has no finished run in norms-rates"):
        rates.fair(STUDY, SEARCH, outcomes({("batch", "lr 0.1"): 0.5}))


def test_the_plan_contains_the_search():
    costs = plan.Costs(lambda config: 1.0, lambda config: 0.0, lambda config: 500)
    plain = dataclasses.replace(STUDY, fair_rates=False)
    planned = [plan.plan(study, costs, None).seconds for study in (plain, STUDY)]
    assert planned[1] == pytest.approx(2 * planned[0])  # three seeds, three rates


def test_no_plan_has_more_images_than_there_are():
    costs = plan.Costs(lambda config: 1.0, lambda config: 0.0, lambda config: 100)
    study = dataclasses.replace(STUDY, fair_rates=False, base={"batch_size": 128})
    for seconds in (1.0, 10.0, 100.0):
        planned = plan.plan(study, costs, seconds).study
        assert planned.base.get("data.limit", 100) <= 100


@pytest.mark.parametrize(
    "changes", [{"factors": (NORMS, SEARCH.factors[1])}, {"base": {"data.holdout": 10}}]
)
def test_studies_that_cannot_have_fair_rates(changes):
    with pytest.raises(ConfigError, match="fair_rates"):
        dataclasses.replace(STUDY, baseline=None, **changes)
