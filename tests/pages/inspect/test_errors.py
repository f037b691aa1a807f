"""Inspect: network and data, accuracy, confusions, and the galleries behind them."""

from __future__ import annotations

import pytest

from engine.data.shapes import CLASSES
from engine.inspect.confusion import cell, confusion
from pages.ui import folders
from pages.ui.inspect import computing
from tests.pages.inspect.helpers import TESTS, pictures, texts

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_link_to_a_section_that_is_not_here_shows_the_first(page, network):
    network("a")
    assert "Accuracy" in page(section="none such").metric[0].label


def test_without_a_network_the_page_says_what_to_do(page):
    assert "no trained network here yet" in page().info[0].value


def test_a_network_whose_data_is_not_here_leads_to_data(page, network):
    network("far", classes=tuple("abc"), dataset="gone.zip")
    at = page()
    assert "was trained on gone" in at.info[0].value
    at.text_input(key="data_path").set_value("nowhere.zip").run()
    assert not at.exception
    assert "no data set 'nowhere.zip'" in at.error[0].value


def test_data_of_other_classes_is_refused_in_one_line(page, network):
    network("far", classes=tuple("abc"), dataset="gone.zip")
    at = page()
    at.text_input(key="data_path").set_value("shapes").run()
    assert "are not those of far" in at.error[0].value


def test_the_page_begins_with_a_network_whose_data_is_here(page, network):
    network("near")
    network("far", classes=tuple("abc"), dataset="gone.zip")
    at = page()
    assert at.selectbox(key="network").value == "near/last"
    assert at.selectbox(key="data").value == "shapes"


def test_accuracy_and_rates_are_those_of_the_network(page, network, answers):
    found, labels = answers(network("a"))
    right = (found.labels == labels).sum().item()
    expected = confusion(labels, found.labels, CLASSES)
    at = page()
    assert at.metric[0].value == f"{100 * right / TESTS:.2f} %"
    assert f"{100 * expected.accuracy.low:.2f} % to {100 * expected.accuracy.high:.2f} %" in texts(
        at
    )
    table = at.dataframe[0].value
    assert list(table["Class"]) == list(CLASSES)
    assert list(table["Images"]) == labels.bincount().tolist()
    for column, rate in (("Precision (%)", "precision"), ("Recall (%)", "recall")):
        rates = [100 * getattr(row, rate) for row in expected.classes]
        assert list(table[column]) == pytest.approx(rates, nan_ok=True)


def test_predictions_are_cached_on_disk_and_in_the_session(page, network, monkeypatch):
    network("a")
    at = page()
    files = list((folders.DATA_ROOT / "cache" / "inspect").glob("*.safetensors"))
    assert files
    monkeypatch.setattr("pages.ui.inspect.computing.predict", lambda *_, **__: pytest.fail("again"))
    at.run()
    assert not at.exception


def test_a_cell_chosen_in_the_lists_shows_its_images_most_confident_first(page, network, answers):
    found, labels = answers(network("a"))
    predicted = found.labels.bincount().argmax().item()
    label = labels[found.labels == predicted].bincount().argmax().item()
    at = page()
    at.selectbox(key="cell_label").set_value(label)
    at.selectbox(key="cell_predicted").set_value(predicted).run()
    expected = cell(labels, found.probabilities(), label, predicted)
    assert pictures(at, f"cell_{label}_{predicted}") == expected[:24]
    assert f"{len(expected):,} image" in texts(at)


def test_the_lists_begin_with_the_most_frequent_confusion(page, network, answers):
    found, labels = answers(network("a"))
    matrix = confusion(labels, found.labels, CLASSES).matrix
    at = page()
    chosen = at.selectbox(key="cell_label").value, at.selectbox(key="cell_predicted").value
    assert chosen[0] != chosen[1]
    assert matrix[chosen] == max(matrix[i, j] for i in range(10) for j in range(10) if i != j)


def test_fewer_images_are_announced(page, network, monkeypatch):
    monkeypatch.setattr("pages.ui.inspect.subject.SIZES", (50,))
    network("a")
    at = page()
    assert f"50 of {TESTS} images" in texts(at)
    assert "50 test images" in at.metric[0].label


def test_held_out_images_are_those_of_the_run(page, network):
    network("a", holdout=40)
    at = page()
    assert "40 held-out images" in at.metric[0].label
    at.segmented_control(key="part").set_value("test").run()
    assert f"{TESTS} test images" in at.metric[0].label


def test_from_the_detail_back_to_the_pictures(page, network):
    network("a")
    at = page()
    assert "back" not in [button.key for button in at.button]
    next(b for b in at.button if (b.key or "").startswith("open_cell_")).click().run()
    at.button(key="back").click().run()
    assert at.session_state["section"] == "errors"
    assert at.metric[0].label.startswith("Accuracy on")


def test_predictions_of_held_out_images_are_kept_for_each_network(page, network, monkeypatch):
    """Which images are held out depends on the network, even where their number does not."""
    seen, predictions = [], computing.predictions

    def watched(subject):
        seen.append((subject.choice.name, subject.part, subject.key))
        return predictions(subject)

    monkeypatch.setattr(computing, "predictions", watched)
    for name in ("a", "b"):
        network(name, holdout=40)
        page(network=f"{name} · last")
    keys = {name: key for name, part, key in seen if part == "held-out"}
    assert set(keys) == {"a", "b"} and keys["a"] != keys["b"]
