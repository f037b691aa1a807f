"""Row 34 of docs/FAULTS.md: a tab closed during a run; fifty tabs that poll."""

import gc
import sys
import types
import urllib.request
from pathlib import Path

import pytest

from engine.runs.run import Run, State
from pages.ui import choices, frame

TABS, ROUNDS = 50, 2
MB = 2**20
NOISE = 128 * MB  # what the training and the allocator take and give back meanwhile


@pytest.fixture
def start(server, session, tiny, known_speed, wait_for):
    """start("a") opens Train, presses Start for a run that lasts, and gives tab and run."""
    started = []

    def go(name: str):
        large = {"data.limit": 450, "batch_size": 225, "model.width": 0.0625}
        long = tiny(epochs=3_000, **large)  # spends its time in kernels, not in Python
        tab = session("Train", choices=choices.encode(long)).wait()
        tab.ask(run_name=name, start=True)
        tab.wait()
        started.append(Run(server.runs / name))
        wait_for(lambda: started[-1].records()[0], "the first point of its curves")
        return tab, started[-1]

    yield go
    for run in started:
        run.request("stop")
        wait_for(lambda run=run: run.status().state is State.STOPPED, "the run to stop")


@pytest.fixture
def active(server):
    """active(): the sessions that the server counts as connected."""

    def count() -> int:
        metrics = urllib.request.urlopen(f"{server.url}/_stcore/metrics").read().decode()
        line = next(x for x in metrics.splitlines() if x.startswith("active_sessions "))
        return int(line.split()[1])

    return count


def resident(process) -> int:
    """Bytes of memory that a process has."""
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * 4096


def advances(run: Run, wait_for) -> None:
    before = run.status().step
    wait_for(lambda: run.status().step > before, "another step")
    assert run.status().state is State.RUNNING


def test_row_34_a_run_goes_on_when_its_tab_is_closed(start, session, active, wait_for):
    tab, run = start("closed")
    assert run.name in tab.texts
    tab.close()
    wait_for(lambda: active() == 0, "the session to be dropped")
    advances(run, wait_for)
    later = session("Train").wait()
    assert run.name in later.texts
    assert "Pause" in later.texts and later.charts >= 3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads the server's memory from /proc")
def test_row_34_fifty_tabs_poll_a_run_that_goes_on(server, start, session, active, wait_for):
    first, run = start("watched")
    alone = resident(server.process)
    tabs = [session("Train") for _ in range(TABS)]
    for tab in tabs:
        assert run.name in tab.wait().texts
    assert active() == TABS + 1

    def poll() -> int:
        for tab in tabs:
            tab.tick()
        for tab in tabs:
            tab.wait()
            assert tab.charts >= 3
            assert any("Epoch" in text for text in tab.texts)
        return resident(server.process)

    opened = poll()
    polled = [poll() for _ in range(ROUNDS)]
    advances(run, wait_for)
    assert max(polled) - alone < 10 * MB * TABS
    assert polled[-1] - opened < NOISE, "memory grows with every look"

    for tab in tabs:
        tab.close()
    wait_for(lambda: active() == 1, "fifty sessions to be dropped")
    advances(run, wait_for)
    first.ask()
    assert first.wait().charts >= 3
    assert resident(server.process) - polled[-1] < NOISE


def test_row_34_the_collection_after_every_look_passes_over_what_was_imported(monkeypatch):
    """Streamlit collects all garbage after every tick of every tab; imports come late."""

    def reached(known: object) -> bool:
        return any(each is known for each in gc.get_objects())

    frame.freeze_imports()
    for name in ("early", "late"):
        module = types.ModuleType(name)
        monkeypatch.setitem(sys.modules, name, module)
        assert reached(module)
        frame.freeze_imports()
        assert not reached(module)
    fresh = types.ModuleType("fresh")
    frame.freeze_imports()
    assert reached(fresh), "what comes and goes must still be collected"
