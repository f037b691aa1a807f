"""Learning rates against PyTorch's schedulers, and properties of all schedules."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.recipe import SCHEDULES, OptimConfig, ScheduleConfig
from engine.schedules import curve, learning_rate

PEAK = 0.4
EPOCHS, STEPS = 30, 7  # 7 steps an epoch: divides nothing evenly


def pytorch_rates(make, steps: int) -> list[float]:
    """The learning rate of each of `steps` steps with a scheduler of torch.optim."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=PEAK)
    scheduler = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def epoch_starts(schedule: ScheduleConfig) -> list[float]:
    return [learning_rate(schedule, PEAK, e * STEPS, STEPS, EPOCHS) for e in range(EPOCHS)]


@pytest.mark.parametrize("t_max", [None, EPOCHS, 12, 45])
def test_cosine_annealing_at_epoch_starts_is_pytorchs(t_max):
    ours = epoch_starts(ScheduleConfig(t_max=t_max))
    theirs = pytorch_rates(
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, t_max or EPOCHS), EPOCHS
    )
    assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("milestones", [(), (1,), (10, 20), (10, 20, 40)])
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0])
def test_multi_step_at_epoch_starts_is_pytorchs(milestones, gamma):
    ours = epoch_starts(ScheduleConfig("multi_step", milestones, gamma))
    theirs = pytorch_rates(
        lambda o: torch.optim.lr_scheduler.MultiStepLR(o, milestones, gamma), EPOCHS
    )
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_multi_step_drops_at_the_first_step_of_the_milestones_next_epoch():
    schedule = ScheduleConfig("multi_step", (2,), 0.1)
    rates = [learning_rate(schedule, PEAK, step, STEPS, 3) for step in range(3 * STEPS)]
    assert rates == [PEAK] * 2 * STEPS + [PEAK * 0.1] * STEPS


def test_one_cycle_follows_pytorchs_within_a_step():
    """PyTorch's peak is one step earlier and its last step is the minimum; the rest agrees."""
    total = EPOCHS * STEPS
    ours = [
        learning_rate(ScheduleConfig("one_cycle"), PEAK, s, STEPS, EPOCHS) for s in range(total)
    ]
    theirs = pytorch_rates(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, PEAK, total_steps=total), total - 1
    )
    assert ours[0] == pytest.approx(PEAK / 25) == theirs[0]
    assert max(ours) == pytest.approx(PEAK)
    assert abs(ours.index(max(ours)) - theirs.index(max(theirs))) <= 1
    steepest = max(abs(b - a) for a, b in itertools.pairwise(theirs))
    assert ours[:-1] == pytest.approx(theirs, abs=1.01 * steepest)


def test_one_cycle_falls_towards_the_peak_over_250000():
    rates = [learning_rate(ScheduleConfig("one_cycle"), PEAK, s, 1000, 10) for s in (9_999, 10_000)]
    assert rates[1] == pytest.approx(PEAK / 25e4)
    assert rates[1] < rates[0] < PEAK * 1e-5


def test_triangular_rises_from_a_fifth_to_the_peak_and_falls_to_the_papers_end():
    schedule, steps = ScheduleConfig("triangular"), 1000
    rates = [learning_rate(schedule, PEAK, step, steps, 1) for step in range(steps)]
    assert rates[0] == pytest.approx(0.2 * PEAK, rel=0.02)
    assert max(rates) == pytest.approx(PEAK, rel=1e-3)
    assert rates.index(max(rates)) == pytest.approx(230, abs=1)
    assert rates[-1] == pytest.approx(0.07 * PEAK, rel=1e-6)
    for part in (rates[:229], rates[231:]):  # straight lines
        changes = [b - a for a, b in itertools.pairwise(part)]
        assert max(changes) - min(changes) < 1e-9


def test_linear_falls_straight_from_the_peak_towards_0():
    rates = [learning_rate(ScheduleConfig("linear"), PEAK, s, STEPS, EPOCHS) for s in range(210)]
    assert rates[0] == PEAK
    assert rates[105] == pytest.approx(PEAK / 2)
    assert rates[-1] == pytest.approx(PEAK / 210)


def test_constant_is_constant():
    rates = {learning_rate(ScheduleConfig("constant"), PEAK, s, STEPS, EPOCHS) for s in range(210)}
    assert rates == {PEAK}


@pytest.mark.parametrize("kind", SCHEDULES)
@pytest.mark.parametrize("warmup", [1.0, 2.5])
def test_warm_up_scales_the_schedule_linearly_and_then_leaves_it_alone(kind, warmup):
    for step in range(EPOCHS * STEPS):
        plain = learning_rate(ScheduleConfig(kind), PEAK, step, STEPS, EPOCHS)
        warmed = learning_rate(ScheduleConfig(kind, warmup=warmup), PEAK, step, STEPS, EPOCHS)
        share = min(1, (step + 1) / (warmup * STEPS))
        assert warmed == pytest.approx(share * plain, rel=1e-12)


SCHEDULE = st.one_of(
    st.builds(
        ScheduleConfig,
        st.sampled_from(["multi_step", "one_cycle", "constant"]),
        warmup=st.floats(0, 50),
    ),
    st.builds(
        ScheduleConfig,
        st.just("cosine_annealing"),
        t_max=st.none() | st.integers(1, 500),
        warmup=st.floats(0, 50),
    ),
    st.builds(
        ScheduleConfig,
        st.just("multi_step"),
        st.lists(st.integers(1, 300), unique=True).map(sorted).map(tuple),
        st.floats(0.001, 1),
    ),
)


@given(SCHEDULE, st.floats(1e-6, 10), st.integers(1, 400), st.integers(1, 200), st.data())
def test_any_rate_is_from_0_to_the_peak_and_depends_on_the_step_alone(
    schedule, peak, per_epoch, epochs, data
):
    step = data.draw(st.integers(0, per_epoch * epochs - 1))
    rate = learning_rate(schedule, peak, step, per_epoch, epochs)
    assert 0 <= rate <= peak * (1 + 1e-9)
    learning_rate(schedule, peak, 0, per_epoch, epochs)  # no state: another step changes nothing
    assert learning_rate(schedule, peak, step, per_epoch, epochs) == rate


def test_the_preview_curve_covers_the_run_and_shows_the_schedule():
    schedule = ScheduleConfig("multi_step", (10, 20), 0.1)
    points = curve(schedule, OptimConfig(lr=PEAK), EPOCHS, points=300)
    assert len(points) == 300
    assert points[0] == (0.0, PEAK)
    assert points[-1][0] == pytest.approx(EPOCHS, abs=0.01)
    for epoch, rate in points:
        passed = (epoch >= 10) + (epoch >= 20)
        assert rate == pytest.approx(PEAK * 0.1**passed)
    assert all(math.isfinite(rate) for _, rate in points)
