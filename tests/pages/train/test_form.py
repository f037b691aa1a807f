"""Train: the form makes the config that it shows."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from engine.config import RunConfig, with_fields
from engine.models import ACTIVATIONS, ARCHITECTURES, NORMS
from engine.presets import PRESETS
from pages.ui import choices, folders, process, readings
from pages.ui.runs import table
from pages.ui.train import architectures, initial_weights, layers
from tests.pages.train.helpers import PAGE, captions, choices_of, preset


def test_without_a_gpu_it_opens_on_minute(app):
    at = app(PAGE)
    assert not at.exception
    assert preset(at).value == "minute"
    assert choices_of(at) == PRESETS["minute"].config()


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
    assert any("settings in the link are invalid" in warning.value for warning in at.warning)
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
    assert any("past the last epoch" in warning.value for warning in at.warning)


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


def test_own_images_without_a_path_ask_for_one(app, tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "DATA_ROOT", tmp_path)  # without saved data sets
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
    assert "[Augmentations](Augmentations) shows its effect." in at.number_input(key="flip_p").help


def test_a_setting_without_a_field_is_explained(app):
    at = app(PAGE)
    at.selectbox(key="arch").set_value("speedrun").run()
    at.selectbox(key="find_setting").set_value("model.whitening").run()
    assert "speedrun always has a whitening layer" in at.toast[0].value
    assert any('key = "arch"' in h.proto.body for h in at.get("html"))


def test_no_text_of_the_form_names_a_flag_of_the_terminal(app):
    at = app(PAGE)
    fields = [*at.selectbox, *at.toggle, *at.number_input, *at.segmented_control, *at.text_input]
    told = [field.help for field in fields] + list(at.selectbox(key="find_setting").options)
    assert len(told) > 50 and not [text for text in told if "--" in text]
    assert not [text for text in table.SETTING_HELP.values() if "--" in text]


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


def test_the_data_of_weights_are_compared_by_content_where_it_is_known(tiny):
    def fit(dataset: str, now: dict | None) -> str:
        trained = tiny(**{"data.dataset": "here/pets.zip"}), known
        return initial_weights._fit(trained, (tiny(**{"data.dataset": dataset}), now))

    prints = {split: {"count": 9, "images": split, "labels": "l"} for split in ("train", "test")}
    known = {"classes": ["a", "b"], "mean": [0.5] * 3, "std": [0.2] * 3, "fingerprint": prints}
    more = prints | {"train": {"count": 10, "images": "other", "labels": "l"}}
    assert fit("there/pets", known) == "same data set"
    assert fit("here/pets.zip", known | {"fingerprint": more}) == "other data set"
    replaced = "other data set, last layer is replaced"
    assert fit("here/pets.zip", known | {"classes": ["a", "c"]}) == replaced
    assert fit("cifar10", None) == replaced
    assert fit("here/pets.zip", None) == "same data set", "not read yet"


def test_architectures_are_compared_with_their_costs_and_chosen_from_the_table(app, monkeypatch):
    monkeypatch.setattr(process, "seconds_of", lambda config, costs: costs.macs / 1e8)
    seconds = architectures.epoch_seconds(PRESETS["minute"].config())
    table = architectures.comparison(seconds).set_index("Architecture")
    assert list(table.index) == list(ARCHITECTURES)
    assert table["What it is"].all() and (table["Parameters (M)"] > 0).all()
    assert table.loc["resnet18", "Epoch here (min)"] == pytest.approx(5.55 / 60, abs=0.001)
    assert table["Paper"].str.startswith("https://arxiv.org/abs/").all()
    assert table.loc["resnet18", "Accuracy (%)"] == 96.015
    assert "study" in table.loc["resnet18", "Source of accuracy"]
    assert "preset Speedrun" in table.loc["speedrun", "Source of accuracy"]
    row = list(ARCHITECTURES).index("convmixer256d8")
    form = {"architectures": {"selection": {"rows": [row]}}}
    monkeypatch.setattr(architectures.st, "session_state", form)
    architectures.choose()
    assert (form["arch"], form["activation"], form["norm"]) == ("convmixer256d8", "gelu", "batch")


def test_activations_and_norms_are_compared_and_chosen_from_a_table(app, monkeypatch):
    at = app(PAGE)
    at.button(key="compare_layers").click().run()
    activations, norms = (table.value for table in at.dataframe[-2:])
    assert list(activations["Activation"]) == list(ACTIVATIONS)
    assert list(norms["Norm"]) == list(NORMS)
    assert activations.set_index("Activation")["Accuracy (%)"]["gelu"] == 94.709
    assert norms.set_index("Norm")["Accuracy (%)"]["group"] == 95.045
    form = {"compared_norm": {"selection": {"rows": [list(NORMS).index("group")]}}}
    monkeypatch.setattr(layers.st, "session_state", form)
    layers.choose("norm")
    assert form["norm"] == "group"
