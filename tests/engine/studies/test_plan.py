"""The plan of a study: cuts alike for every value, in their order, within the time."""

import dataclasses

import pytest

from engine.errors import ConfigError
from engine.studies import plan
from engine.studies.plan import START_S, Costs
from engine.studies.study import Factor, Study, Value

IMAGES = 50_000
SLOW = 10  # times the step of the quicker network


def epoch_seconds(config) -> float:
    """A minute for all images at full width; densenet121 takes ten times as long."""
    slower = SLOW if config.model.arch == "densenet121" else 1
    return 60 * slower * config.model.width**2 * (config.data.limit or IMAGES) / IMAGES


COSTS = Costs(epoch_seconds, lambda config: 7.0, lambda config: IMAGES)
NETWORKS = Factor(
    "Architecture", tuple(Value(a, {"model.arch": a}) for a in ("resnet18", "densenet121"))
)
EPOCHS = Factor("Epochs", tuple(Value(f"{n} epochs", {"epochs": n}) for n in (10, 40)))
STUDY = Study("s", "Which?", (NETWORKS,), {"epochs": 100}, seeds=(0, 1))
WHOLE_S = 2 * (100 * 60 * (1 + SLOW) + 2 * START_S)


def configs(study: Study):
    return [study.config(row, study.seeds[0]) for row in study.rows()]


@pytest.mark.parametrize("seconds", [300, 1800, 2700, 36_000, 2 * WHOLE_S])
@pytest.mark.parametrize("factor", [NETWORKS, EPOCHS], ids=["networks", "epochs"])
@pytest.mark.parametrize("fair", [False, True], ids=["one rate", "fair rates"])
def test_the_plan_fits_into_the_time_with_the_same_cut_for_every_value(seconds, factor, fair):
    study = dataclasses.replace(STUDY, factors=(factor,), fair_rates=fair)
    found = plan.plan(study, COSTS, seconds)
    assert 0 < found.seconds <= seconds and plan.TOO_LONG not in found.cuts
    assert found.seconds == pytest.approx(sum(cost for _, cost in found.rows))
    for cut, before in zip(configs(found.study), configs(study), strict=True):
        first, whole = configs(found.study)[0], configs(study)[0]
        assert cut.model.width / before.model.width == first.model.width / whole.model.width
        assert cut.data.limit == first.data.limit
        assert cut.epochs / before.epochs == first.epochs / whole.epochs


def test_epochs_are_cut_first_then_width_then_images():
    def cut(seconds):
        config = configs(plan.plan(STUDY, COSTS, seconds).study)[0]
        return config.model.width, config.data.limit, config.epochs

    assert cut(WHOLE_S) == (1, None, 100)
    assert cut(WHOLE_S / 4) == (1, None, 24)  # of 25, the start of the runs takes a part
    assert cut(WHOLE_S / 25)[:2] == (0.5, None)
    assert cut(WHOLE_S / 700)[:2] == (0.125, None)
    assert cut(WHOLE_S / 1000)[:2] == (0.125, IMAGES // 2)
    assert all(cut(WHOLE_S / part)[2] >= plan.MIN_EPOCHS for part in (25, 700, 1000))


def test_cuts_are_told():
    assert plan.plan(STUDY, COSTS, None).cuts == []
    assert plan.plan(STUDY, COSTS, WHOLE_S).cuts == []
    (text,) = plan.plan(STUDY, COSTS, WHOLE_S / 25).cuts
    assert text.startswith("Reduced to fit the time, for every value: width 0.5 instead of 1, ")
    assert text.endswith(" of 100 epochs.")


@pytest.mark.parametrize("factor", [NETWORKS, EPOCHS], ids=["networks", "epochs"])
def test_a_plan_that_cannot_fit_says_so(factor):
    study = dataclasses.replace(STUDY, factors=(factor,))
    found = plan.plan(study, COSTS, 1.0)
    assert found.seconds > 1 and found.cuts[-1] == plan.TOO_LONG
    assert configs(found.study)[0].model.width == plan.WIDTHS[-1]
    assert configs(found.study)[0].data.limit == IMAGES * plan.SHARES[-1]


@pytest.mark.parametrize("seconds", [1800, 36_000, 2 * WHOLE_S, None])
def test_equal_time_gives_every_value_the_same_time(seconds):
    study = dataclasses.replace(STUDY, equal="time")
    found = plan.plan(study, COSTS, seconds)
    quick, slow = configs(found.study)
    assert quick.epochs <= 100 and slow.epochs < quick.epochs
    times = [cost for _, cost in found.rows]
    longest_epoch = max(map(epoch_seconds, (quick, slow)))
    assert max(times) - min(times) <= 2 * longest_epoch  # whole epochs, two seeds
    assert seconds is None or found.seconds <= seconds
    assert f"{slow.epochs} to {quick.epochs} of 100 epochs" in found.cuts[-1]
    assert plan.price(found.study, COSTS).rows == found.rows
    assert plan.plan(found.study, COSTS, None).study == found.study


def test_equal_time_with_two_factors_is_refused():
    widths = Factor("Width", tuple(Value(f"{w}", {"model.width": w}) for w in (0.5, 1.0)))
    grid = Study("s", "Which?", (NETWORKS, widths), equal="time")
    for seconds in (None, 300, 1e8):
        with pytest.raises(ConfigError, match="one factor"):
            plan.plan(grid, COSTS, seconds)


def test_held_out_images_take_a_pass_over_the_test_images():
    held = dataclasses.replace(STUDY, base={"epochs": 100, "data.holdout": 5_000})
    more = plan.price(held, COSTS).seconds - plan.price(STUDY, COSTS).seconds
    assert more == pytest.approx(7.0 * 2 * 2)


def test_several_devices_train_at_once():
    four = dataclasses.replace(COSTS, devices=4)
    each = [row / 2 for _, row in plan.price(STUDY, COSTS).rows]
    assert plan.price(STUDY, four).seconds == max(each)  # four runs, one on each
    two = dataclasses.replace(COSTS, devices=2)  # the one that is free first gets the last run
    assert plan.price(STUDY, two).seconds == pytest.approx(2 * min(each) + max(each))
    one = dataclasses.replace(STUDY, base={**STUDY.base, "device": "cpu"})
    assert plan.price(one, four).seconds == plan.price(one, COSTS).seconds
    found = plan.plan(STUDY, four, 36_000)
    alone = plan.plan(STUDY, COSTS, 36_000)
    assert found.seconds <= 36_000
    assert configs(found.study)[0].epochs > 2 * configs(alone.study)[0].epochs
