"""Inspect: how sure a network is, what it learned, two networks, corruptions, history."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest
import torch

from engine import data
from engine.data.shapes import CLASSES
from engine.inspect import calibration, features
from engine.inspect.compare import compare
from engine.inspect.corruptions import CORRUPTIONS, corrupt
from engine.inspect.sample import sample
from engine.models import build_model
from engine.predict import Predictor, own_splits
from engine.runs import history
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import State
from pages.ui import folders, weights
from pages.ui.inspect import charts, datasets, sure
from tests.pages.inspect.helpers import TESTS, inference, pictures, spoken, table, texts

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_calibration_error_and_the_temperature_are_those_of_the_network(
    section, network, answers
):
    found, labels = answers(network("a"))
    fit = calibration.fit_temperature(found.logits, labels)
    at = section("How sure it is")
    assert at.metric[0].value == f"{fit.temperature:.2f}"
    bins = calibration.reliability(found.probabilities(), labels)
    assert f"error **{100 * calibration.expected_error(bins):.2f} %**" in spoken(at)
    at.toggle(key="reliability_scaled").set_value(True).run()
    assert f"error **{100 * fit.ece_after:.2f} %** on {fit.judged_on:,} images" in spoken(at)


def test_a_stored_temperature_is_found_by_classify(section, network):
    run = network("a")
    at = section("How sure it is")
    fitted = float(at.metric[0].value)
    at.button(key="store_temperature").click().run()
    assert not at.exception
    stored = Predictor.load(run.path).temperature
    assert stored == pytest.approx(fitted, abs=0.005)
    assert f"stored {stored:.2f}" in texts(at)


def retrain(run, seed):
    """Replace the weights, as a training does."""
    config = run.config().model
    model = build_model("resnet10", config.num_classes, width=config.width, seed=seed)
    CheckpointStore(run.path, describe_model(config)).save(seed, model.state_dict(), {})


def test_every_section_shows_the_same_weights_until_newer_ones_are_asked_for(
    section, network, answers, monkeypatch
):
    run = network("a")
    before, labels = answers(run)
    with run.hold("a test") as writer:
        writer.update(state=State.RUNNING)
        at = section("How sure it is")
        retrain(run, seed=5)
        at.segmented_control(key="section").set_value("errors").run()
        assert not at.exception
        shown = lambda: at.metric[0].value  # noqa: E731
        acc = lambda found: 100 * (found.labels == labels).float().mean().item()  # noqa: E731
        after, _ = answers(run)
        assert acc(before) != acc(after)
        assert shown() == f"{acc(before):.2f} %"
        at.button(key="newer_a · last").click().run()
        assert shown() == f"{acc(after):.2f} %"
        assert "newer_a · last" not in [button.key for button in at.button]


def test_two_versions_of_a_run_in_training_are_compared(section, network):
    run = network("a")
    shutil.copyfile(run.path / "last.safetensors", run.path / "best.safetensors")
    with run.hold("a test") as writer:
        writer.update(state=State.RUNNING)
        at = section("Two networks", network="a · last")
        at.selectbox(key="second_network").set_value("a/best").run()
        retrain(run, seed=5)
        shutil.copyfile(run.path / "last.safetensors", run.path / "best.safetensors")
        at.run()
        assert not at.exception
        keys = [button.key for button in at.button]
        assert "newer_a · last" in keys and "newer_a · best" in keys


def test_a_temperature_is_not_stored_while_the_weights_may_be_replaced(section, network):
    run = network("a")
    with run.hold("a test") as writer:
        writer.update(state=State.RUNNING)
        assert section("How sure it is").button(key="store_temperature").disabled


@pytest.mark.parametrize("name", ["wrong", "right", "labels"])
def test_lists_of_images_are_in_the_order_of_the_engine(section, network, answers, name):
    found, labels = answers(network("a"))
    order = {
        "wrong": calibration.sure_and_wrong,
        "right": calibration.unsure_and_right,
        "labels": calibration.doubtful_labels,
    }[name](found.probabilities(), labels)
    at = section("How sure it is")
    at.segmented_control(key="sure_list").set_value(name).run()
    assert order and pictures(at, f"sure_{name}") == order[:24]


def test_the_map_shows_each_image_at_its_place(section, network, answers, monkeypatch):
    found, labels = answers(network("a"))
    drawn = []
    rows = charts.map_rows
    monkeypatch.setattr(
        "pages.ui.inspect.charts.map_rows", lambda *a: drawn.append(rows(*a)) or drawn[-1]
    )
    at = section("What it learned")
    assert "stem.0" in texts(at) and "A convolution, as trained" in texts(at)
    (table,) = drawn
    assert list(table["number"]) == list(range(TESTS))
    assert list(table["label"]) == [CLASSES[i] for i in labels]
    assert list(table["predicted"]) == [CLASSES[i] for i in found.labels]
    assert (table["result"] == "right").tolist() == (found.labels == labels).tolist()
    expected = features.pca(found.features).points
    assert np.allclose(table[["x", "y"]].to_numpy(), expected, atol=1e-4)


def test_a_map_of_a_part_is_of_a_random_part(section, network, monkeypatch):
    network("a")
    monkeypatch.setattr("pages.ui.inspect.learned.POINTS", 40)
    drawn = []
    rows = charts.map_rows
    monkeypatch.setattr(
        "pages.ui.inspect.charts.map_rows", lambda *a: drawn.append(rows(*a)) or drawn[-1]
    )
    section("What it learned")
    assert len(drawn[0]) == 40 and max(drawn[0]["number"]) > 100


def test_t_sne_is_computed_when_asked_for(section, network, monkeypatch):
    network("a")
    asked = []

    def fake(values, seed=0):
        asked.append(len(values))
        yield 0.5, values[:, :2].numpy() * 0
        yield 1.0, values[:, :2].numpy()

    monkeypatch.setattr("engine.inspect.features.tsne", fake)
    at = section("What it learned")
    assert not asked
    at.segmented_control(key="map_method").set_value("tsne").run()
    at.segmented_control(key="map_color").set_value("result").run()
    assert not at.exception and asked == [TESTS]


def test_two_networks_are_compared_on_the_same_images(section, network, answers):
    a, labels = answers(network("a"))
    b, _ = answers(network("b", seed=5))
    expected = compare(labels, a.labels, b.labels)
    at = section("Two networks", network="a · last")
    at.selectbox(key="second_network").set_value("b/last").run()
    assert not at.exception
    assert f"{expected.sentence()}." in spoken(at)
    shown = table(at, "B right", "B wrong")
    assert shown["B right"].tolist() == [expected.both_right, expected.only_b]
    assert shown["B wrong"].tolist() == [expected.only_a, expected.both_wrong]


def test_the_pictures_on_which_two_networks_differ_show_both_heatmaps(section, network, answers):
    a, labels = answers(network("a"))
    b, _ = answers(network("b", seed=5))
    at = section("Two networks", network="a · last")
    at.selectbox(key="second_network").set_value("b/last").run()
    masks = [
        (a.labels == labels) & (b.labels != labels),
        (b.labels == labels) & (a.labels != labels),
    ]
    kind = max(range(2), key=lambda index: masks[index].sum())
    at.segmented_control(key="two_list").set_value(kind).run()
    numbers = masks[kind].nonzero().flatten().tolist()
    assert pictures(at, f"two_{kind}") == numbers[:24]
    number = numbers[:24][-1]
    at.button(key=f"open_two_{kind}_{number}").click().run()
    assert not at.exception
    assert f"Image {number}, label **{CLASSES[labels[number]]}**" in texts(at)
    assert f"B says **{CLASSES[b.labels[number]]}**" in texts(at)


def test_only_networks_with_the_same_classes_are_offered(section, network):
    network("a")
    network("b")
    network("far", classes=tuple("abc"), dataset="gone.zip")
    at = section("Two networks", network="a · last")
    assert at.selectbox(key="second_network").options == ["b · last"]


def test_accuracy_on_corrupted_images_is_shown_on_request(section, network, answers, monkeypatch):
    run = network("a")
    monkeypatch.setattr("pages.ui.inspect.subject.SIZES", (50,))
    at = section("Corrupted images")
    at.button(key="measure_corruptions").click().run()
    assert not at.exception
    shown = table(at, "Corruption").set_index("Corruption")
    assert list(shown.index) == ["none", *CORRUPTIONS]
    images = data.load("shapes", folders.DATA_ROOT)
    drawn = sample(images.test_images, images.test_labels, 50)
    predictor = Predictor(*inference(run))
    answers_ = predictor.logits(corrupt(drawn.images, "noise", 3)).argmax(1)
    right = (answers_ == drawn.labels).float().mean().item()
    assert shown.loc["noise", "Severity 3"] == pytest.approx(100 * right)
    clean = (predictor.logits(drawn.images).argmax(1) == drawn.labels).float().mean().item()
    assert shown.loc["none", "Severity 1"] == pytest.approx(100 * clean)


def test_a_network_without_kept_predictions_says_so(section, network):
    network("a")
    assert "were not kept" in section("Learning history").info[0].value


def test_images_are_listed_by_the_epoch_that_learned_them(section, network, shapes_root):
    run = network("a")
    labels = data.load("shapes", shapes_root).test_labels
    wrong = (labels + 1) % 10
    second = torch.where(torch.arange(TESTS) < 150, labels, wrong)
    third = torch.where(torch.arange(TESTS) < 149, labels, wrong)  # image 149 is lost again
    for epoch, predicted in enumerate((wrong, second, third), start=1):
        history.append(run.path / history.NAME, epoch, history.to_row([predicted], 10))
    at = section("Learning history")
    assert "**50** were wrong after every epoch, **1**" in spoken(at)
    assert pictures(at, "history_forgotten") == [149]
    at.segmented_control(key="history_list").set_value("never").run()
    assert pictures(at, "history_never") == list(range(150, 174))
    at.button(key="open_history_never_150").click().run()
    assert at.session_state["section"] == "why" and at.number_input(key="image").value == 150


@pytest.mark.parametrize(
    ("temperature", "after", "expected"),
    [
        (1.5, 0.4, "too sure"),
        (0.6, 0.4, "not sure enough"),
        (1.02, 0.4, "does not improve"),
        (1.5, 0.5, "does not improve"),
    ],
)
def test_a_temperature_that_corrects_nothing_is_called_so(temperature, after, expected):
    fit = calibration.Fit(temperature, 50, 50, 0.1, 0.1, 0.5, after)
    assert expected in sure.judgment(fit)


def test_an_image_of_the_history_opens_in_its_own_part(section, network, shapes_root):
    run = network("a", holdout=40)
    predictor = Predictor.load(run.path)
    labels = own_splits(predictor.network, data.load("shapes", shapes_root)).val_labels
    row = history.to_row([(labels + 1) % 10], 10)
    history.append(run.path / history.NAME, 1, row)
    at = section("Learning history")
    at.segmented_control(key="part").set_value("test").run()
    at.segmented_control(key="history_list").set_value("never").run()
    at.button(key="open_history_never_3").click().run()
    assert not at.exception
    assert at.segmented_control(key="part").value == "held-out"
    assert f"Correct label: **{CLASSES[labels[3]]}**" in texts(at)


def test_the_history_needs_the_images_of_the_training_wherever_they_lie(network, runs_root):
    run = network("a", dataset="elsewhere.zip")
    images = data.load("shapes", folders.DATA_ROOT)
    with run.hold("a test") as writer:
        writer.save_config(run.config(), images.describe())
    choice = weights.choice_of("a", run, "last")
    assert datasets.is_own(choice, images, "shapes")
    other = {**images.fingerprint, "test": {**images.fingerprint["test"], "images": "others"}}
    changed = dataclasses.replace(images, fingerprint=other)
    assert not datasets.is_own(choice, changed, "elsewhere.zip")


def test_a_second_network_that_trained_on_the_held_out_images_is_warned_of(section, network):
    for name, holdout in (("a", 40), ("b", 0), ("c", 40)):
        network(name, seed=ord(name), holdout=holdout)
    at = section("Two networks", network="a · last")
    warned = lambda: any("B may have been trained on them" in w.value for w in at.warning)  # noqa: E731
    at.selectbox(key="second_network").set_value("b/last").run()
    assert warned()
    at.selectbox(key="second_network").set_value("c/last").run()
    assert not warned() and not at.exception
