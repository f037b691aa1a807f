"""Train: the form makes the config that it shows; Start, stop and the queue do what they say."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
import streamlit as st
from PIL import Image

from engine import runs, worker
from engine.config import RunConfig, with_fields
from engine.models import ARCHITECTURES
from engine.presets import PRESETS
from engine.runs.run import Run, State
from pages.ui import choices, folders, history, live, process, readings
from pages.ui.train import architectures

PAGE = "pages/1_Train.py"


def fill_tiny(at, tmp: str = ""):
    """The smallest run that the form can ask for."""
    at.number_input(key="width").set_value(0.0625)
    at.number_input(key="limit").set_value(48)
    at.number_input(key="holdout").set_value(40)
    at.number_input(key="batch_size").set_value(16)
    at.number_input(key="epochs").set_value(2)
    return at.run()


def preset(at):
    """The choice of a preset, whose key tells which one the form matches."""
    (control,) = [c for c in at.segmented_control if c.key.startswith("preset_")]
    return control


def captions(at) -> str:
    return "\n".join(caption.value for caption in at.caption)


def state_of(name: str) -> State:
    return Run(folders.RUN_ROOT / name).status().state


def test_without_a_gpu_it_opens_on_minute(app):
    at = app(PAGE)
    assert not at.exception
    assert preset(at).value == "minute"
    assert choices_of(at) == PRESETS["minute"].config()


def choices_of(at) -> RunConfig:
    """The config in the page's link, which leaves out where the data lie."""
    link = next(block.value for block in at.code if "choices=" in block.value)
    return choices.decode(parse_qs(urlsplit(link).query)["choices"][0])


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


def test_a_new_architecture_brings_its_own_activation_and_norm(app):
    at = app(PAGE)
    at.selectbox(key="norm").set_value("group").run()
    at.selectbox(key="arch").set_value("convmixer256d8").run()
    assert at.selectbox(key="activation").value == ARCHITECTURES["convmixer256d8"].activation
    assert at.selectbox(key="norm").value == "batch"


@pytest.mark.parametrize(
    "changes",
    [
        {"model.arch": "vgg11", "model.activation": "mish", "model.norm": "layer"},
        {"augment.mixup": True, "augment.mixup_alpha": 0.5, "augment.crop": False},
        {"schedule.kind": "multi_step", "schedule.milestones": [2, 3], "epochs": 5},
        {"optim.optimizer": "adamw", "optim.lr": 0.001, "seed": 7, "data.holdout": 500},
    ],
)
def test_a_link_reproduces_the_choices_in_another_browser(app, changes):
    at = app(PAGE, choices=json.dumps(changes))
    assert not at.exception
    assert choices_of(at) == choices.decode(json.dumps(changes))


@pytest.mark.parametrize("choices", ["{", "[1]", '{"data.root": "/"}', '{"optim.lr": NaN}'])
def test_a_damaged_link_is_named_and_left_out(app, choices):
    at = app(PAGE, choices=choices)
    assert not at.exception
    assert any("link's choices" in warning.value for warning in at.warning)
    assert preset(at).value == "minute"


def test_what_cannot_be_trained_is_said_and_cannot_be_started(app):
    at = app(PAGE)
    at.number_input(key="lr").set_value(0.0).run()
    assert "Learning rate" in at.error[0].value
    assert at.button(key="start").disabled


def test_an_unwise_choice_is_warned_of(app):
    at = app(PAGE)
    at.segmented_control(key="kind").set_value("multi_step").run()
    at.text_input(key="milestones").set_value("60").run()
    assert any("past the end" in warning.value for warning in at.warning)


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


def test_choices_outlive_a_visit_to_another_page(app):
    at = app(PAGE)
    at.selectbox(key="arch").set_value("vgg13").run()
    at.switch_page("pages/2_Runs.py").run()
    at.switch_page(PAGE).run()
    assert at.selectbox(key="arch").value == "vgg13"


def test_a_folder_that_is_no_data_set_is_told_and_the_form_stays(app, tmp_path):
    (tmp_path / "empty").mkdir()
    at = app(PAGE)
    at.session_state["dataset"] = "own"
    at.session_state["dataset_path"] = str(tmp_path / "empty")
    at.run()
    assert not at.exception
    assert any("Cannot start" in error.value for error in at.error)
    assert at.button(key="start").disabled


def test_a_name_that_was_emptied_is_suggested_again(app):
    at = app(PAGE)
    suggested = at.text_input(key="run_name").value
    at.session_state["name_edited"] = True
    at.session_state["run_name"] = ""
    at.run()
    assert at.text_input(key="run_name").value == suggested


def test_an_older_address_does_not_undo_what_the_page_shows(app):
    """A quick change comes with the address of the change before."""
    at = app(PAGE, choices=json.dumps({"model.arch": "vgg11"}))
    at.selectbox(key="arch").set_value("vgg13").run()
    assert at.selectbox(key="arch").value == "vgg13"
    at.query_params["choices"] = json.dumps({"model.arch": "vgg16"})
    at.run()
    assert at.selectbox(key="arch").value == "vgg13"


def test_the_preset_is_shown_only_while_the_form_is_as_it_left_it(app):
    at = app(PAGE)
    preset(at).set_value("speedrun").run()
    assert preset(at).value == "speedrun"
    at.number_input(key="epochs").set_value(10).run()
    assert preset(at).value is None
    assert "1 setting differs" in captions(at)
    preset(at).set_value("speedrun").run()
    assert at.number_input(key="epochs").value == PRESETS["speedrun"].config().epochs


@pytest.mark.parametrize(("holdout", "left"), [(20_000, False), (19_999, True)])
def test_something_must_be_left_to_train_on(app, holdout, left):
    at = app(PAGE)
    at.number_input(key="holdout").set_value(holdout).run()
    assert not at.exception
    assert at.button(key="start").disabled is not left
    assert any("leave some of the 20,000 training" in e.value for e in at.error) is not left


def test_own_images_are_counted_for_the_estimate(app, tmp_path):
    for name, count in (("cat", 6), ("dog", 4)):
        for i in range(count):
            path = tmp_path / "own" / "train" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (i, 0, 0)).save(path)
            path = tmp_path / "own" / "test" / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (i, 9, 0)).save(path)
    app(PAGE)
    own = with_fields(RunConfig(), {"data.dataset": str(tmp_path / "own"), "data.holdout": 3})
    assert readings.split_sizes(own) == (7, 3)
    for name in ("cat", "dog"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / "own" / "train" / name / "more.png")
    readings.version.clear()  # of some seconds ago
    assert readings.split_sizes(own) == (9, 3), "images were added"


def test_a_picture_that_is_overwritten_in_place_is_shown_as_it_is_now(app, tmp_path):
    for split in ("train", "test"):
        for label, color in (("cat", 10), ("dog", 20)):
            path = tmp_path / "own" / split / label / "1.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (color, 0, split == "test")).save(path)
    dataset = str(tmp_path / "own")
    at = app(PAGE, choices=json.dumps({"data.dataset": dataset}))
    assert readings.own_images(dataset, "crop").samples[0].max() == 10
    path = tmp_path / "own" / "train" / "cat" / "1.png"
    Image.new("RGB", (32, 32), (77, 0, 0)).save(path)
    readings.version.clear()  # of some seconds ago
    at.run()
    assert not at.exception
    assert readings.own_images(dataset, "crop").samples[0].max() == 77
    assert readings.images(dataset).train_images[0].max() == 77


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
    assert "a guess would be 10.00 %" in "\n".join(caption.value for caption in at.caption)
    assert {"See its errors", "Compare with other runs"} <= {
        link.proto.label for link in at.get("page_link")
    }
    at.button(key="classify_with").click().run()
    assert at.title[0].value == "Classify"


def test_own_images_without_a_path_ask_for_one(app):
    at = app(PAGE)
    at.selectbox(key="dataset").set_value("own").run()
    assert not at.error
    assert "add your own images" in at.info[-1].value


def test_groups_stay_as_they_were_left_and_tell_what_is_changed_in_them(app):
    def captions() -> list[str]:
        return [c.value for c in at.caption if c.value.startswith("Changed: ")]

    at = app(PAGE, open="network_settings,nothing")
    assert at.session_state["network_settings"] and not at.session_state["recipe_settings"]
    assert captions() == []
    at.session_state["network_settings"], at.session_state["recipe_settings"] = False, True
    at.number_input(key="momentum").set_value(0.8).run()
    at.number_input(key="seed").set_value(3).run()
    assert captions() == ["Changed: Momentum 0.8, Seed 3"]
    assert any("2 settings differ from Minute" in caption.value for caption in at.caption)
    at.query_params.clear()
    at.switch_page("pages/2_Runs.py").run()
    at.switch_page(PAGE).run()
    assert at.session_state["recipe_settings"] and not at.session_state["network_settings"]
    assert captions() == ["Changed: Momentum 0.8, Seed 3"]
    preset(at).set_value("minute").run()
    assert captions() == []


def test_a_setting_is_found_in_the_group_that_holds_it(app):
    def sought() -> str:
        return next(h.proto.body for h in at.get("html") if "scrollIntoView" in h.proto.body)

    at = app(PAGE)
    at.selectbox(key="find_setting").set_value("optim.momentum").run()
    assert not at.exception
    assert at.session_state["recipe_settings"]
    assert 'key = "momentum"' in sought()
    assert at.selectbox(key="find_setting").value is None
    at.selectbox(key="find_setting").set_value("augment.mixup_alpha").run()
    assert 'key = "augment"' in sought(), "what switches it on"
    assert "Mixup α is used with Mixup" in at.toast[0].value
    at.run()
    assert "scrollIntoView" not in "".join(h.proto.body for h in at.get("html"))
    assert "Usual: 0.9; 0.6 for muon." in at.number_input(key="momentum").help
    assert "The Augmentations page shows its effect." in at.number_input(key="flip_p").help


def test_start_from_sets_the_network_that_the_weights_need(app):
    def captions() -> str:
        return "\n".join(caption.value for caption in at.caption)

    at = app(PAGE)
    at.selectbox(key="arch").set_value("resnet10").run()
    shipped = "vgg11-shapes"
    (label,) = [o for o in at.selectbox(key="pretrained").options if o.startswith("vgg11-shapes")]
    assert "same data set" in label
    at.selectbox(key="pretrained").set_value(shipped).run()
    assert not at.exception and not at.error
    assert at.selectbox(key="arch").value == "vgg11"
    assert "The network was set to match these weights: **vgg11**" in captions()
    assert choices_of(at).pretrained == shipped
    width = at.number_input(key="width").value
    at.number_input(key="width").set_value(2.0).run()
    assert any("These weights need **vgg11**" in warning.value for warning in at.warning)
    at.button(key="follow_weights").click().run()
    assert at.number_input(key="width").value == width and not at.error


def test_an_identical_run_is_told_and_title_and_note_go_with_the_run(app, finished):
    def told() -> bool:
        return any("An identical run exists: **twin**, 40.00 %" in i.value for i in at.info)

    link = choices.encode(finished("twin").config())
    at = app(PAGE, choices=link)
    assert not at.exception and told()
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


def test_architectures_are_compared_with_their_costs_and_chosen_from_the_table(app, monkeypatch):
    monkeypatch.setattr(process, "seconds_of", lambda config, costs: costs.macs / 1e8)
    seconds = architectures.epoch_seconds(PRESETS["minute"].config())
    table = architectures.comparison(seconds).set_index("Architecture")
    assert list(table.index) == list(ARCHITECTURES)
    assert table["What it is"].all() and (table["Parameters (M)"] > 0).all()
    assert table.loc["resnet18", "Time per epoch here (min)"] == pytest.approx(5.55 / 60, abs=0.001)
    assert table.loc["resnet18", "Accuracy (%)"] == 96.015
    assert "study" in table.loc["resnet18", "Source of accuracy"]
    assert "preset Speedrun" in table.loc["speedrun", "Source of accuracy"]
    row = list(ARCHITECTURES).index("convmixer256d8")
    form = {"architectures": {"selection": {"rows": [row]}}}
    monkeypatch.setattr(architectures.st, "session_state", form)
    architectures.choose()
    assert (form["arch"], form["activation"], form["norm"]) == ("convmixer256d8", "gelu", "batch")
