"""How often a run is looked at, and when the page is drawn again for it."""

import pytest

from engine.runs.run import State, Status
from pages.ui import live


def running(eta: float | None) -> Status:
    return Status(State.RUNNING, eta_seconds=eta)


@pytest.mark.parametrize(
    ("status", "tick"),
    [
        (running(None), live.TICK_S),
        (running(60.0), live.TICK_S),
        (running(3600.0), live.LONG_TICK_S),
        (Status(State.QUEUED), live.TICK_S),
        (Status(State.FINISHED, eta_seconds=0.0), None),
        (Status(State.PAUSED, eta_seconds=3600.0), None),
    ],
)
def test_a_long_run_is_looked_at_less_often_and_an_ended_one_not_at_all(status, tick):
    assert live.tick_of(status) == tick


def test_a_page_that_was_just_drawn_is_up_to_date():
    for eta in (None, *range(0, 1000, 10)):
        status = running(eta)
        assert not live.is_outdated((status.state, live.tick_of(status)), status), eta


def test_a_page_is_drawn_again_for_another_state_and_for_another_length():
    assert live.is_outdated((State.QUEUED, live.TICK_S), running(None))
    assert live.is_outdated((State.RUNNING, live.TICK_S), Status(State.FINISHED))
    assert live.is_outdated((State.RUNNING, live.TICK_S), running(3600.0))
    assert live.is_outdated((State.RUNNING, live.LONG_TICK_S), running(60.0)), (
        "a first estimate reads high"
    )


def test_an_estimate_that_wavers_does_not_draw_the_page_again_and_again():
    for eta in range(160, 300, 10):
        for tick in (live.TICK_S, live.LONG_TICK_S):
            assert not live.is_outdated((State.RUNNING, tick), running(float(eta)))
    assert not live.is_outdated((State.RUNNING, live.LONG_TICK_S), running(None))
    assert not live.is_outdated((State.FINISHED, None), Status(State.FINISHED, eta_seconds=9e9))
