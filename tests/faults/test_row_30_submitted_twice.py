"""Row 30 of docs/FAULTS.md: a double click, or the same form from two tabs, makes one run."""

from __future__ import annotations

import threading

import pytest

from engine import runs
from engine.errors import RunError
from engine.runs.run import Run, State
from pages.ui import choices

pytestmark = pytest.mark.usefixtures("one_thread")

PAGE = "pages/1_Train.py"
LONG = {"epochs": 2_000}  # still in training when the second submission comes


@pytest.fixture
def at_once():
    """at_once(8, action): what 8 threads got that called it together, and the errors."""

    def call(count: int, action) -> tuple[list, list]:
        barrier, made, refused = threading.Barrier(count), [], []

        def one(number: int) -> None:
            barrier.wait()
            try:
                made.append(action(number))
            except RunError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return made, refused

    return call


@pytest.fixture
def stopped(wait_for):
    """stopped(run): asked to stop, and stopped."""

    def stop(run: Run) -> None:
        wait_for(lambda: run.status().state is State.RUNNING, "the run to start")
        run.request("stop")
        wait_for(lambda: run.status().state is State.STOPPED, "the run to stop")

    return stop


def test_row_30_the_same_submission_from_eight_threads_is_one_run(
    worker, tmp_path, tiny, at_once, stopped
):
    config = tiny(**LONG)
    made, refused = at_once(8, lambda _: worker.submit(config, "same", tmp_path))
    assert refused == []
    assert {run.path for run in made} == {tmp_path / "same"}
    assert len(made) == 8
    assert [run.name for run in runs.list_runs(tmp_path)] == ["same"]
    assert worker.waiting() == [] or worker.current is None, "it is in the queue once"
    stopped(made[0])
    assert worker.waiting() == []


def test_row_30_other_choices_under_the_same_name_are_refused_whoever_is_first(
    worker, tmp_path, tiny, at_once, stopped
):
    configs = [tiny(seed=seed, **LONG) for seed in range(6)]
    made, refused = at_once(6, lambda i: worker.submit(configs[i], "same", tmp_path))
    assert (len(made), len(refused)) == (1, 5)
    assert all("'same' already exists" in text for text in refused)
    assert made[0].config().seed in range(6)
    assert [run.name for run in runs.list_runs(tmp_path)] == ["same"]
    stopped(made[0])


def test_row_30_a_run_that_has_ended_is_not_taken_for_a_new_one(worker, tmp_path, tiny, stopped):
    run = worker.submit(tiny(**LONG), "ended", tmp_path)
    stopped(run)
    with pytest.raises(RunError, match="'ended' already exists"):
        worker.submit(tiny(**LONG), "ended", tmp_path)
    assert run.status().state is State.STOPPED


@pytest.fixture
def form(app, tiny):
    """form("same", seed=1) is a Train page of its own whose Start is not yet pressed."""

    def fill(name: str, **changes):
        at = app(PAGE, choices=choices.encode(tiny(**LONG | changes)))
        return at.text_input(key="run_name").set_value(name).run()

    return fill


def errors(at) -> str:
    return "\n".join(error.value for error in at.error)


def test_row_30_the_same_form_from_two_tabs(form, runs_root, stopped):
    first, second = form("same"), form("same")
    first.button(key="start").click().run()
    second.button(key="start").click().run()
    assert not first.exception and not second.exception
    assert errors(second) == ""
    assert [run.name for run in runs.list_runs(runs_root)] == ["same"]
    assert "same" in [heading.value for heading in second.subheader], "it watches the one run"
    stopped(Run(runs_root / "same"))


def test_row_30_the_same_name_with_other_choices_is_refused_on_the_page(form, runs_root, stopped):
    first, second = form("same"), form("same", seed=7)
    first.button(key="start").click().run()
    second.button(key="start").click().run()
    assert not second.exception
    assert "'same' already exists" in errors(second)
    assert Run(runs_root / "same").config().seed == 0
    assert len(runs.list_runs(runs_root)) == 1
    stopped(Run(runs_root / "same"))


@pytest.fixture
def untouched(app, tiny):
    """untouched() is a Train page whose form is filled and whose name is as suggested."""
    return lambda: app(PAGE, choices=choices.encode(tiny(**LONG)))


def test_row_30_the_same_untouched_form_from_two_tabs(untouched, runs_root, stopped):
    first, second = untouched(), untouched()
    first.button(key="start").click().run()
    second.button(key="start").click().run()
    assert not second.exception and errors(second) == ""
    (run,) = runs.list_runs(runs_root)
    assert run.name in [heading.value for heading in second.subheader], "it watches the one run"
    stopped(run)


def test_row_30_a_suggested_name_that_another_tab_took_is_replaced(
    untouched, runs_root, stopped, tiny
):
    at = untouched()
    suggested = at.text_input(key="run_name").value
    runs.create(runs_root, suggested, tiny(seed=9))
    runs.create(runs_root, f"{suggested}-2", tiny(seed=8))
    at.button(key="start").click().run()
    assert not at.exception and errors(at) == ""
    names = {run.name for run in runs.list_runs(runs_root)}
    assert names == {suggested, f"{suggested}-2", f"{suggested}-3"}
    assert f"{suggested}-3" in [heading.value for heading in at.subheader]
    stopped(Run(runs_root / f"{suggested}-3"))


@pytest.fixture
def tab(session, known_speed, tiny):
    """tab() is a session of a real server on Train, with the form filled."""
    return lambda: session("Train", choices=choices.encode(tiny(**LONG)))


def test_row_30_four_tabs_of_a_real_server_at_the_same_time(tab, server, stopped):
    tabs = [tab() for _ in range(4)]
    for each in tabs:
        each.wait()
    for each in tabs:
        each.ask(run_name="same", start=True)
    for each in tabs:
        assert not [text for text in each.wait().texts if "exists" in text]
    assert [run.name for run in runs.list_runs(server.runs)] == ["same"]
    stopped(Run(server.runs / "same"))


def test_row_30_a_double_click_whose_second_half_comes_late(tab, server, stopped):
    """The browser sends it with the name and the button that it still shows."""
    before = {run.name for run in runs.list_runs(server.runs)}
    clicked = tab().wait()
    clicked.ask(run_name="late", start=True)
    clicked.wait()
    clicked.ask(run_name="late", start=True)
    assert not [text for text in clicked.wait().texts if "exists" in text]
    assert {run.name for run in runs.list_runs(server.runs)} == before | {"late"}
    stopped(Run(server.runs / "late"))


def test_row_30_a_preset_that_the_browser_sends_late_undoes_no_choice(session, server):
    """With every message a browser sends the values of all controls, and some are behind."""
    tab = session("Train").wait()
    tab.ask(preset_1=["Speedrun"])
    tab.wait()
    assert "speedrun" in command(tab)
    late = {"preset_2": ["Speedrun"]}
    tab.ask(epochs=10.0, **late)
    tab.wait()
    tab.ask(batch_size=48.0, **late)
    tab.wait()
    assert "--epochs 10 " in command(tab) and "--batch-size 48" in command(tab), command(tab)


def command(tab) -> str:
    return next(text for text in tab.texts if text.startswith("python train.py"))
