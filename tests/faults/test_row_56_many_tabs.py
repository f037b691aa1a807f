"""Row 56 of docs/FAULTS.md: many tabs beside a training read, draw and refresh for themselves."""

from __future__ import annotations

import json
import threading

import pytest
import streamlit as st
from playwright.sync_api import Page, expect

from engine import runs
from engine.runs.run import Run, State
from pages.ui import charts, history, live, readings, refresh
from tests.fixtures_app import epoch_row, step_row

TABS = 50


@pytest.fixture
def run(tmp_path, tiny) -> Run:
    """A run in training with three epochs of one step."""
    made = runs.create(tmp_path / "runs", "watched", tiny())
    with made.hold("a test") as writer:
        for number in (1, 2, 3):
            writer.append([step_row(number), epoch_row(number, number / 10)])
    return made


@pytest.fixture
def parsed(monkeypatch) -> list[int]:
    """Number of records that each reading of metrics.jsonl parsed."""
    counts, read = [], Run.records

    def counted(self, offset: int = 0):
        found, end = read(self, offset)
        counts.append(len(found))
        return found, end

    monkeypatch.setattr(Run, "records", counted)
    return counts


def at_once(task) -> list:
    """Results of `task` in as many threads as there are tabs, all started together."""
    barrier, results = threading.Barrier(TABS), []

    def work() -> None:
        barrier.wait()
        results.append(task())

    threads = [threading.Thread(target=work) for _ in range(TABS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def append(run: Run, *records: dict) -> None:
    with (run.path / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


def test_records_are_read_once_for_all_sessions(run, parsed):
    results = at_once(lambda: history.records(run))
    assert parsed == [6]
    assert len(results) == TABS and all(len(records) == 6 for records in results)


def test_only_new_records_are_parsed(run, parsed):
    before = history.records(run)
    append(run, step_row(4), epoch_row(4, 0.4))
    results = at_once(lambda: history.records(run))
    assert parsed == [6, 2]
    assert all([r["epoch"] for r in records] == [1, 1, 2, 2, 3, 3, 4, 4] for records in results)
    assert len(before) == 6, "a list that a session draws from must not change"


def test_a_record_that_is_half_written_is_read_once_it_is_whole(run):
    whole = json.dumps(step_row(4)) + "\n"
    history.records(run)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(whole[:20])
        file.flush()
        assert len(history.records(run)) == 6
        file.write(whole[20:])
    assert len(history.records(run)) == 7


def test_records_that_a_resume_drops_are_forgotten(run):
    history.records(run)
    with run.hold("a test") as writer:
        writer.trim(2, 2)
        writer.append([step_row(3), epoch_row(3, 0.9)])
    expected = [(1, 0.1), (2, 0.2), (3, 0.9)]
    assert [(r["epoch"], r["val_acc"]) for r in history.epochs(run)] == expected
    found = [r for r in history.records(run) if r["kind"] == "epoch"]
    assert [(r["epoch"], r["val_acc"]) for r in found] == expected


def test_a_chart_is_computed_once_for_each_new_record(run):
    calls = []

    def points(records, smoothing):
        calls.append((len(records), smoothing))
        return charts.run_rows(records, "accuracy", "epoch", smoothing)

    results = at_once(lambda: history.compute(run, points, 0.5))
    assert calls == [(6, 0.5)]
    assert len(results[0]) and all(rows is results[0] for rows in results)
    history.compute(run, points, 0.9)
    append(run, epoch_row(4, 0.4))
    at_once(lambda: history.compute(run, points, 0.5))
    assert calls == [(6, 0.5), (6, 0.9), (7, 0.5)]


def test_charts_of_many_settings_do_not_pile_up(run):
    shared = history.History(run.path)
    for number in range(3 * history.MAX_COMPUTED):
        assert shared.compute(lambda records, n: n, number) == number
    assert len(shared._computed) <= history.MAX_COMPUTED


def test_a_listing_of_the_runs_serves_all_sessions_that_look_within_a_second(monkeypatch, run):
    listings = []
    listed = [(run, run.status())]
    monkeypatch.setattr(readings, "statuses", lambda: listings.append(1) or listed)
    now = [0.0]
    monkeypatch.setattr(refresh.time, "monotonic", lambda: now[0])
    listing = refresh._Listing()
    now[0] = 100.0
    assert all(pairs == listed for pairs in at_once(listing.statuses))
    assert len(listings) == 1
    now[0] += 1.01 * refresh.FRESH_S
    listing.statuses()
    assert len(listings) == 2


@pytest.mark.parametrize("every", [live.TICK_S, live.LONG_TICK_S, refresh.INTERVAL_S])
def test_together_sessions_look_at_a_bounded_rate(every):
    assert refresh.pace(every, 1) == every
    paces = [refresh.pace(every, sessions) for sessions in range(1, 500)]
    assert paces == sorted(paces)
    looks = [sessions / pace for sessions, pace in enumerate(paces, start=1)]
    assert max(looks) <= 1 / refresh.SHARE_S + 1e-9  # per second
    assert refresh.pace(live.TICK_S, TABS) == 10.0


def test_the_page_is_drawn_with_another_interval_once_it_differs_by_a_factor_of_two(monkeypatch):
    count, intervals, reruns, drawn = [1], [], [], []
    monkeypatch.setattr(refresh, "sessions", lambda: count[0])
    monkeypatch.setattr(st, "rerun", lambda: reruns.append(count[0]))

    def fragment(function, run_every=None):
        intervals.append(run_every)
        return function

    monkeypatch.setattr(st, "fragment", fragment)
    look = refresh.repeat(drawn.append, 2.0)
    for count[0] in (1, 10, 20, 21):
        look(count[0])
    assert reruns == [21] and drawn == [1, 10, 20, 21]
    look = refresh.repeat(drawn.append, 2.0)
    assert intervals == pytest.approx([2.0, 4.2])
    for count[0] in (40, 11, 10):
        look(count[0])
    assert reruns == [21, 10]


@pytest.mark.slow
def test_tabs_of_a_server_slow_down_as_their_number_grows(server, session, tiny):
    run = runs.create(server.runs, "watched", tiny())
    with run.hold("a test") as writer:
        writer.begin((State.QUEUED,))
        first = session("Train").wait()
        assert min(first.timers.values()) == live.TICK_S
        tabs = [session("Train").wait() for _ in range(21)]
        assert min(tabs[-1].timers.values()) == pytest.approx(22 * refresh.SHARE_S)
        first.tick()
        first.wait()
        assert min(first.timers.values()) == pytest.approx(22 * refresh.SHARE_S)
        writer.update(state=State.FINISHED)


def hide(page: Page, hidden: bool) -> None:
    """What a browser does when another tab is shown in place of this one, or this one again."""
    page.evaluate(
        """hidden => {
          Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


@pytest.mark.slow
def test_a_hidden_tab_asks_for_nothing_and_is_up_to_date_when_it_is_shown(
    tab, server, settle, tiny
):
    run = runs.create(server.runs, "shown", tiny())
    with run.hold("a test") as writer:
        writer.begin((State.QUEUED,))
        writer.append([step_row(1), epoch_row(1, 0.25)])
        page, asked = tab("/Train"), []
        page.on("websocket", lambda socket: socket.on("framesent", lambda sent: asked.append(sent)))
        page.reload()
        expect(page.get_by_text("25.00 %").first).to_be_visible()
        settle(page)
        page.wait_for_timeout(2_500 * live.TICK_S)
        assert len(asked) > 2, "a tab that is shown is refreshed"
        hide(page, True)
        page.wait_for_timeout(1_000 * (refresh.HIDE_S + 1))
        settle(page)
        asked.clear()
        writer.append([step_row(2), epoch_row(2, 0.75)])
        page.wait_for_timeout(4_000 * live.TICK_S)
        assert not asked and not page.get_by_text("75.00 %").count()
        hide(page, False)
        expect(page.get_by_text("75.00 %").first).to_be_visible()
        asked.clear()
        page.wait_for_timeout(2_500 * live.TICK_S)
        assert asked
        writer.update(state=State.FINISHED)
