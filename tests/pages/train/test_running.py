"""Train: Start, the queue and the buttons of a run do what they say."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest
import streamlit as st

from engine import runs, worker
from engine.config import RunConfig, with_fields
from engine.runs.run import Run, State
from pages.ui import choices, folders, history, live, process, readings, weights
from tests.pages.train.helpers import PAGE, captions, choices_of, fill_tiny, preset, state_of


def test_start_trains_to_the_end_and_the_curves_appear(app, wait_for):
    at = fill_tiny(app(PAGE))
    at.text_input(key="run_name").set_value("tiny").run()
    at.button(key="start").click().run()
    assert not at.exception
    wait_for(lambda: state_of("tiny") is State.FINISHED)
    at.run()
    assert len(at.get("vega_lite_chart")) >= 3
    assert "tiny" in [s.value for s in at.subheader]
    epochs = [r for r in history.records(Run(folders.RUN_ROOT / "tiny")) if r["kind"] == "epoch"]
    assert len(epochs) == 2


def test_a_bad_name_makes_no_run(app):
    at = fill_tiny(app(PAGE))
    at.text_input(key="run_name").set_value("../x").run()
    at.button(key="start").click().run()
    assert "names can use" in at.error[0].value
    assert not runs.list_runs(folders.RUN_ROOT)


@pytest.mark.parametrize("trains", [False, True])
def test_the_speed_is_waited_for_without_holding_up_a_training(trains, app, runs_root, monkeypatch):
    """Each look at it takes a tenth of a second of a core, in the browser."""
    monkeypatch.setattr(process, "epoch_seconds", lambda config: None)
    training = runs.create(runs_root, "other", RunConfig()) if trains else None
    monkeypatch.setattr(worker.Worker, "current", training)
    looks, fragment = {}, st.fragment
    noted = lambda f, run_every=None: looks.update({f.__name__: run_every}) or fragment(f)  # noqa: E731
    monkeypatch.setattr(st, "fragment", noted)
    captions = [c.value for c in app(PAGE).caption]
    assert ("The time is estimated once no other run is training." in captions) == trains
    assert looks["await_speed"] == (20 if trains else 2)


def test_a_long_run_shows_its_total_and_asks(app, monkeypatch):
    monkeypatch.setattr(process, "epoch_seconds", lambda config: 1_000.0)
    at = app(PAGE)
    preset(at).set_value("study").run()
    assert "2.9 days" in "\n".join(text.value for text in at.markdown)
    assert not [button for button in at.button if button.key == "start"]
    at.button(key="start_anyway").click().run()
    assert len(runs.list_runs(folders.RUN_ROOT)) == 1
    process.worker().stop(runs.list_runs(folders.RUN_ROOT)[0])


def test_runs_queue_up_and_are_reordered_cancelled_and_put_back(app, wait_for):
    at = fill_tiny(app(PAGE))
    at.number_input(key="epochs").set_value(2000).run()
    at.text_input(key="run_name").set_value("one").run()
    at.button(key="start").click().run()
    wait_for(lambda: state_of("one") is State.RUNNING)
    at.run()
    for seed, name in enumerate(("two", "three"), start=1):
        at.number_input(key="seed").set_value(seed).run()
        at.text_input(key="run_name").set_value(name).run()
        at.button(key="queue").click().run()
    at.run()
    waiting = lambda: [run.name for run in process.worker().waiting()]  # noqa: E731
    at.button(key="earlier_three").click().run()
    assert waiting() == ["three", "two"]
    at.button(key="cancel_three").click().run()
    assert waiting() == ["two"] and readings.find_run("three") is None
    at.button(key="undo_last").click().run()
    assert waiting() == ["three", "two"] and state_of("three") is State.QUEUED
    at.button(key="clear_queue").click().run()
    assert waiting() == [] and readings.find_run("two") is None
    at.button(key="undo_last").click().run()
    assert waiting() == ["three", "two"]
    at.button(key="later_three").click().run()
    at.button(key="stop").click().run()
    wait_for(lambda: state_of("two") is State.RUNNING)
    at.run()
    assert "one has ended (stopped" in captions(at) and "two came next" in captions(at)
    at.button(key="show_before").click().run()
    assert at.session_state["watching"] == "one"
    assert not at.exception


def test_a_long_queue_is_shown_in_part(app, tiny):
    for number in range(8):
        runs.create(folders.RUN_ROOT, f"q{number}", tiny())
    at = app(PAGE)
    listed = lambda: sum(str(b.key).startswith("cancel_q") for b in at.button)  # noqa: E731
    assert listed() == 5
    assert "and 3 more" in "\n".join(info.value for info in at.info)
    at.toggle(key="whole_queue").set_value(True).run()
    assert listed() == 8 and not at.exception


def test_a_failed_run_says_why_and_is_resumed_only_where_that_can_help(app, finished):
    run = finished("bad")
    for lasting in (True, False):
        with run.hold("a test") as writer:
            writer.update(state=State.FAILED, step=9, epoch=3, message="diverged", lasting=lasting)
        at = app(PAGE, run="bad")
        assert "Failed in epoch 3. Diverged." in at.error[0].value
        assert ("resume" not in [button.key for button in at.button]) is lasting
        assert ("change" in [button.key for button in at.button]) is lasting


def test_the_settings_of_a_diverged_run_are_changed_at_its_learning_rate(app, finished):
    run = finished("wild", **{"optim.lr": 1000.0, "epochs": 3})
    (run.path / "last.safetensors").write_bytes(b"weights")
    with run.hold("a test") as writer:
        writer.update(state=State.FAILED, step=9, epoch=3, message="diverged", lasting=True)
    at = app(PAGE, run="wild")
    assert "extend" not in [button.key for button in at.button], "its weights are of no use"
    at.button(key="change").click().run()
    assert not at.exception
    assert (at.number_input(key="lr").value, at.number_input(key="epochs").value) == (1000, 3)
    assert at.session_state["recipe_settings"]
    assert '"lr"' in next(h.proto.body for h in at.get("html") if "scrollIntoView" in h.proto.body)


def test_a_queue_left_by_an_earlier_server_goes_on_when_asked(app, runs_root, tiny, wait_for):
    runs.create(runs_root, "left", tiny())
    at = app(PAGE)
    assert any("left" in info.value for info in at.info)
    assert state_of("left") is State.QUEUED
    at.button(key="continue_queue").click().run()
    wait_for(lambda: state_of("left") is State.FINISHED)


def test_pause_then_resume_then_extend(app, wait_for):
    at = fill_tiny(app(PAGE))
    at.number_input(key="epochs").set_value(400).run()
    at.text_input(key="run_name").set_value("long").run()
    at.button(key="start").click().run()
    wait_for(lambda: Run(folders.RUN_ROOT / "long").status().step > 2)
    at.run()
    at.button(key="pause").click().run()
    wait_for(lambda: state_of("long") is State.PAUSED)
    paused_at = Run(folders.RUN_ROOT / "long").status().step
    at.run()
    at.button(key="resume").click().run()
    wait_for(lambda: Run(folders.RUN_ROOT / "long").status().step > paused_at)
    at.run()
    at.button(key="stop").click().run()
    wait_for(lambda: state_of("long") is State.STOPPED)
    at.run()
    at.number_input(key="extend_epochs").set_value(1).run()
    at.button(key="extend").click().run()
    wait_for(lambda: state_of("long-more") is State.FINISHED)
    assert Run(folders.RUN_ROOT / "long-more").config().pretrained == "long"


def test_clean_train_accuracy_is_measured_when_asked_for(app, wait_for):
    at = fill_tiny(app(PAGE))
    at.text_input(key="run_name").set_value("clean").run()
    at.button(key="start").click().run()
    wait_for(lambda: state_of("clean") is State.FINISHED)
    at.run()
    assert not [text for text in at.markdown if "clean training images" in text.value]
    at.button(key="clean").click().run()
    assert [text for text in at.markdown if "clean training images" in text.value]
    at.toggle(key="log_loss").set_value(True).run()
    assert [text for text in at.markdown if "clean training images" in text.value], "still there"


def test_a_mirror_typed_on_home_is_used_by_the_run_that_downloads(app):
    at = app(PAGE, choices=json.dumps({"epochs": 3}))  # CIFAR-10, which is not there
    at.session_state["mirror_cifar100"] = "https://other.example/cifar-100.tar.gz"
    at.session_state["mirror_cifar10"] = "https://mirror.example/cifar.tar.gz"
    at.run()
    assert any("--data-url https://mirror.example/cifar.tar.gz" in b.value for b in at.code)
    at.session_state["mirror_cifar10"] = "mirror.example"
    at.run()
    assert "Mirror (on Home)" in at.error[0].value


def test_extending_twice_in_a_row_makes_one_run(app, finished, monkeypatch):
    run = finished("base")
    app(PAGE)
    monkeypatch.setattr(live.st, "session_state", {})
    submitted = lambda config, name, root: runs.create(root, name, config)  # noqa: E731
    monkeypatch.setattr(process.worker(), "submit", submitted)
    live.start_extension(run, 2_000)
    live.start_extension(run, 2_000)
    assert {r.name for r in runs.list_runs(folders.RUN_ROOT)} == {"base", "base-more"}
    assert live.st.session_state["watching"] == "base-more"


def test_an_unfinished_run_is_shown_until_closed_or_left_behind(app, finished):
    def shown(at) -> list[str]:
        return [s.value for s in at.subheader]

    with finished("old").hold("a test") as writer:
        writer.update(state=State.PAUSED)
    at = app(PAGE)
    assert "old" in shown(at)
    at.button(key="close").click().run()
    assert not at.exception
    assert "old" not in shown(at)
    assert "old" in shown(app(PAGE)), "another visit"
    finished("newer")
    assert "old" not in shown(app(PAGE))
    assert "old" in shown(app(PAGE, run="old"))


def test_a_reload_follows_what_was_followed_and_stays_where_it_was_told_to(app, finished):
    finished("ended")
    with finished("running").hold("another process") as writer:
        writer.update(state=State.RUNNING)
        for key, name in (("watched", "running"), ("run", "ended")):
            at = app(PAGE, **{key: "ended"})
            assert name in [s.value for s in at.subheader], key


def test_the_page_says_that_a_network_is_being_compiled(app, finished):
    with finished("slow-start").hold("another process") as writer:
        writer.update(state=State.RUNNING, phase="compiling", steps=10, epoch=1, epochs=2)
        shown = app(PAGE).get("progress")[0].proto.text
    assert shown.startswith("Epoch 1 of 2 · compiling")


def test_a_finished_run_leads_on(app, finished):
    run = finished("a")
    (run.path / "last.safetensors").write_bytes(b"weights")
    at = app(PAGE, run="a")
    assert not at.exception
    assert "random guessing would give 10.00 %" in "\n".join(
        caption.value for caption in at.caption
    )
    links = {link.proto.label: link.proto.query_string for link in at.get("page_link")}
    assert links["See its errors"] == "network=a+%C2%B7+last"
    assert links["Compare with other runs"] == "ticked=a"
    assert "extend" in [button.key for button in at.button]
    at.button(key="vary_one").click().run()
    assert choices_of(at) == choices.decode(choices.encode(run.config()))
    assert any("Change one of them" in toast.value for toast in at.toast)
    at.button(key="classify_with").click().run()
    assert not at.exception and at.title[0].value == "Classify"


def test_a_finished_run_is_compared_with_the_last_one_like_it_and_repeated(app, finished):
    finished("like", acc=(0.2, 0.38), seed=4)
    finished("unlike", acc=(0.2, 0.1), seed=5, **{"optim.lr": 0.01})
    run = finished("a")
    (run.path / "last.safetensors").write_bytes(b"weights")
    at = app(PAGE, run="a")
    assert "The last run like it, with seed 4: 38.00 %. One run each cannot" in captions(at)
    at.button(key="repeat").click().run()
    assert not at.exception
    assert choices_of(at) == choices.decode(choices.encode(with_fields(run.config(), {"seed": 5})))
    there = app("pages/2_Runs.py", run="a")
    there.button(key="repeat").click().run()
    assert not there.exception and there.number_input(key="seed").value == 5


def test_the_link_to_inspect_names_a_titled_run_as_its_list_does(app, finished):
    run = finished("a")
    (run.path / "last.safetensors").write_bytes(b"weights")
    run.set_title("Wide & deep")
    at = app(PAGE, run="a")
    (link,) = [e.proto for e in at.get("page_link") if e.proto.label == "See its errors"]
    (network,) = parse_qs(link.query_string)["network"]
    assert network == weights.choices()["a/last"].label == "Wide & deep · a · last"


def test_an_identical_run_is_told_and_title_and_note_go_with_the_run(app, finished):
    def told() -> bool:
        return any("An identical run exists: **twin**, 40.00 %" in i.value for i in at.info)

    twin = finished("twin")
    link = choices.encode(twin.config())
    at = app(PAGE, choices=link)
    assert not at.exception and told()
    for state, word in ((State.QUEUED, "in the queue"), (State.PAUSED, "paused")):
        with twin.hold("a test") as writer:
            writer.update(state=state)
        at.run()
        assert any(f"same settings is {word}: **twin**" in i.value for i in at.info)
    at.number_input(key="seed").set_value(5).run()
    assert not told()
    at.text_area(key="run_note").set_value("another seed").run()
    at.text_input(key="run_title").set_value("The second").run()
    at.button(key="start").click().run()
    (run,) = [run for run in runs.list_runs(folders.RUN_ROOT) if run.name != "twin"]
    assert run.note() == "another seed" and run.name.endswith("seed5")
    assert run.title() == "The second"
    assert not at.text_area(key="run_note").value and not at.text_input(key="run_title").value
    process.worker().stop(run)
