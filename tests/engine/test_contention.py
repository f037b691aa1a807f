"""When training gives way to other work, where its threads may run then, and that this ends."""

import itertools
import os
import sys
import threading
from types import SimpleNamespace

import pytest
import torch

from engine import contention
from engine.contention import CALM, CROWDED, HALF, Load

CORES = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else [0]
teams = pytest.mark.skipif(
    len(CORES) < 2 or not contention.gnu_openmp(), reason="no team of libgomp's on several cores"
)


def levels(shares, cores=2):
    """What a Load answers to readings, one a second, of others who use that many cores."""
    load, total, answers = Load(cores), 0.0, [None]
    load.update(0.0, total)
    for second, share in enumerate(shares, 1):
        total += share
        answers.append(load.update(float(second), total))
    return answers[1:]


def test_a_busy_process_crowds_the_cpu_and_light_work_does_not():
    assert levels([1.0] * 9)[-1] == CROWDED
    assert levels([0.5, 0.5, 0.5])[-1] == CROWDED  # what it gets on one of two cores of a training
    assert set(levels([0.05, 0.1, 0.2] * 10)) == {CALM}


def test_two_busy_processes_take_half_of_two_cores():
    assert levels([1.3] * 9)[-1] == HALF
    assert levels([1.3] * 9 + [1.0] * 9)[-1] == HALF, "they get less once the training has a core"
    assert levels([1.3] * 9 + [0.45] * 9)[-1] == CROWDED
    assert levels([1.3] * 9 + [0.0] * 9)[-1] == CALM


def test_it_does_not_flap():
    assert CALM not in levels([1.0] * 3 + [0.3, 0.2] * 10), "between the limits it stays on"
    assert set(levels([0.0, 0.2] * 10)) == {CALM}, "and off"
    assert levels([1.0] * 5 + [0.0] * 5)[-3:] == [CALM] * 3


def test_a_long_time_between_readings_and_clocks_that_disagree_do_no_harm():
    load = Load(2)
    load.update(0.0, 100.0)
    assert load.update(100.0, 105.0) == CALM
    assert load.update(101.0, 104.9) == CALM


def test_many_cores_are_read_with_an_error_that_grows_with_them():
    assert set(levels([1.0] * 10, cores=64)) == {CALM}
    assert levels([4.0] * 10, cores=64)[-1] == CROWDED


@pytest.fixture
def all_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(len(CORES))
    yield
    torch.set_num_threads(before)


@pytest.fixture
def load(monkeypatch):
    """load(cores): others have used that many cores for the second before the next check."""
    clock, total = itertools.count(10.0), 0.0  # a second later each time it is read

    def use(cores):
        nonlocal total
        total += cores

    monkeypatch.setattr(contention, "READ_EVERY_S", 0.0)
    monkeypatch.setattr(contention, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(contention.Teams, "cpu_seconds", lambda self: 0.0)
    monkeypatch.setattr(contention, "busy_seconds", lambda cores: total)
    return use


def bound():
    """The CPUs of each thread of this thread's teams, by the thread's number."""
    found = {}
    contention.Teams(contention.gnu_openmp(), len(CORES)).run(
        lambda number: found.setdefault(number, set()).update(os.sched_getaffinity(0))
    )
    return found


@teams
def test_threads_leave_half_of_the_cores_while_others_need_them(all_threads, load):
    everywhere = {number: set(CORES) for number in range(len(CORES))}
    half = {number: set(CORES[len(CORES) // 2 :]) for number in range(len(CORES))}
    with contention.relief(True) as relief:
        relief.check()
        assert bound() == everywhere and not ballast()
        for cores, expected in ((0.25, everywhere), (0.7, half)):
            for _ in range(4):
                load(cores * len(CORES))
                relief.check()
            assert bound() == expected and ballast()
        for _ in range(7):
            relief.check()
        assert bound() == everywhere and not ballast()


def ballast() -> bool:
    return any(thread.name == "ballast" for thread in threading.enumerate())


@teams
def test_settling_notices_a_load_before_the_first_step(all_threads, load, monkeypatch):
    monkeypatch.setattr(contention.time, "sleep", lambda seconds: load(1.0), raising=False)
    with contention.relief(True) as relief:
        relief.settle()
        assert ballast()


@teams
def test_a_failure_while_others_work_frees_the_threads(all_threads, load):
    with pytest.raises(RuntimeError), contention.relief(True) as relief:
        relief.check()
        for _ in range(4):
            load(float(len(CORES)))
            relief.check()
        assert len(os.sched_getaffinity(0)) < len(CORES)
        raise RuntimeError
    assert os.sched_getaffinity(0) == set(CORES)
    assert not ballast()


@teams
def test_with_fewer_threads_than_cores_or_unwanted_nothing_happens(load):
    before = torch.get_num_threads()
    try:
        for threads, wanted in ((1, True), (len(CORES), False)):
            torch.set_num_threads(threads)
            with contention.relief(wanted) as relief:
                for _ in range(3):
                    load(1.0)
                    relief.check()
                assert os.sched_getaffinity(0) == set(CORES)
    finally:
        torch.set_num_threads(before)


@teams
def test_the_time_of_the_team_is_no_load(all_threads):
    """A training alone on the CPU: the teams' time is nearly all of the process's."""
    teams = contention.Teams(contention.gnu_openmp(), len(CORES))
    own, whole = teams.cpu_seconds(), os.times()
    a = torch.rand(400, 400)
    for _ in range(200):
        a = (a @ a).clamp(0, 1)
    own = teams.cpu_seconds() - own
    whole = sum(os.times()[:2]) - sum(whole[:2])
    assert own == pytest.approx(whole, abs=0.1, rel=0.2)
