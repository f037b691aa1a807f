"""Inspect: why a network answers so, for one image."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from engine.augment import normalize
from engine.data.shapes import CLASSES
from engine.inspect import attribution, changes
from engine.inspect.activations import layers
from engine.inspect.features import nearest
from pages.ui.inspect import layers as layers_ui
from tests.pages.inspect.helpers import table, texts

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_click_on_a_picture_opens_its_detail(page, network, answers):
    _, labels = answers(network("a"))
    at = page()
    button = next(b for b in at.button if (b.key or "").startswith("open_cell_"))
    number = int(button.key.rsplit("_", 1)[1])
    button.click().run()
    assert not at.exception
    assert at.number_input(key="image").value == number
    assert at.session_state["section"] == "why"
    assert f"Correct label: **{CLASSES[labels[number]]}**" in texts(at)


def test_the_answer_is_that_of_the_plain_network(why):
    at, predictor, images = why
    (expected,) = predictor.top_k(images.test_images[7:8])
    shown = table(at, "Class", "Probability")
    assert list(shown["Class"]) == [label for label, _ in expected]
    assert list(shown["Probability"]) == pytest.approx([100 * value for _, value in expected])
    right = expected[0][0] == CLASSES[images.test_labels[7]]
    assert f"The answer is {'right' if right else 'wrong'}" in texts(at)


def test_any_class_can_be_explained_and_another_picture_begins_with_its_answer(why, monkeypatch):
    at, predictor, images = why
    best = predictor.probabilities(images.test_images[7:9]).argmax(1)
    assert at.selectbox(key="explained_class").value == best[0]
    asked = []
    explain = attribution.explain
    monkeypatch.setattr(
        "pages.ui.inspect.why.explain",
        lambda network, image, target: asked.append(target) or explain(network, image, target),
    )
    other = (int(best[0]) + 3) % 10
    at.selectbox(key="explained_class").set_value(other).run()
    assert asked == [other]
    at.number_input(key="image").set_value(8).run()
    assert asked == [other, best[1]]
    assert not at.exception


def test_the_answer_is_explained_again_after_another_section(why):
    at, predictor, images = why
    best = predictor.probabilities(images.test_images[7:8]).argmax(1)[0]
    assert best != 0
    at.segmented_control(key="section").set_value("history").run()
    at.segmented_control(key="section").set_value("why").run()
    assert at.selectbox(key="explained_class").value == best


def test_the_sum_of_integrated_gradients_is_shown_beside_what_it_should_be(why):
    at, predictor, images = why
    target = at.selectbox(key="explained_class").value
    exact = attribution.explain(predictor.network, images.test_images[7], target).integrated
    assert exact.is_complete
    assert f"they sum to {exact.difference:+.2f}, the score minus" in texts(at)


def test_a_small_change_shows_the_probabilities_of_the_changed_image(why):
    at, predictor, images = why
    at.toggle(key="change_flip").set_value(True)
    at.slider(key="change_shift_right").set_value(3)
    at.number_input(key="change_square").set_value(5).run()
    image = changes.occlude(changes.shift(changes.flip(images.test_images[7]), 3, 0), 12, 12, 5)
    after = dict(zip(CLASSES, predictor.probabilities(image[None])[0], strict=True))
    before = dict(zip(CLASSES, predictor.probabilities(images.test_images[7:8])[0], strict=True))
    shown = table(at, "After (%)").set_index("Class")
    for name, row in shown.iterrows():
        assert row["After (%)"] == pytest.approx(100 * after[name], abs=1e-3)
        assert row["Change (points)"] == pytest.approx(100 * (after[name] - before[name]), abs=1e-3)
    assert abs(shown["Change (points)"]).max() > 0.01
    at.button(key="change_none").click().run()
    assert not table(at, "After (%)")["Change (points)"].any()


def test_a_layer_chosen_in_the_list_shows_its_maps(why):
    at, predictor, _ = why
    rows = layers(predictor.network.model)
    assert at.selectbox(key="layer").options == [layers_ui.describe(row) for row in rows]
    deep = [row for row in rows if row.kind == "Conv2d"][-1]
    at.selectbox(key="layer").set_value(deep.name).run()
    assert not at.exception
    assert f"All {deep.output_shape[0]} channels of ` {deep.name} `" in texts(at)
    at.selectbox(key="layer").set_value(rows[-1].name).run()
    assert not at.exception


def test_the_most_similar_training_images_are_found_on_request(why):
    at, predictor, images = why
    at.button(key="find_neighbors").click().run()
    assert not at.exception
    network = predictor.network

    def pooled_features(batch):
        x = normalize(batch, network.mean, network.std)
        pooled = []
        handle = network.model.get_classifier().register_forward_pre_hook(
            lambda _, inputs: pooled.append(inputs[0])
        )
        with torch.no_grad():
            network.model(x)
        handle.remove()
        return pooled[0]

    (expected,) = nearest(
        pooled_features(images.test_images[7:8]), pooled_features(images.train_images)
    )
    best = f"{CLASSES[images.train_labels[expected.indices[0]]]} · {expected.similarities[0]:.2f}"
    assert best in texts(at)


def test_a_picture_that_cannot_be_read_is_refused_in_one_line(why):
    at, *_ = why
    at.segmented_control(key="picture_from").set_value("upload").run()
    at.file_uploader(key="why_upload").set_value(("x.png", b"not a picture", "image/png")).run()
    assert not at.exception
    assert "cannot be used" in at.error[0].value


def test_an_uploaded_picture_is_classified(why):
    at, predictor, _ = why
    image = Image.new("RGB", (64, 48), (200, 30, 30))
    file = io.BytesIO()
    image.save(file, "PNG")
    at.segmented_control(key="picture_from").set_value("upload").run()
    at.file_uploader(key="why_upload").set_value(("x.png", file.getvalue(), "image/png")).run()
    assert not at.exception
    (expected,) = predictor.top_k([image])
    assert list(table(at, "Class", "Probability")["Class"]) == [label for label, _ in expected]
    assert "Correct label" not in texts(at)
