"""Classify: own pictures and samples, their cards, the network's answers."""

import csv
import io
import re

import pytest

from engine import data
from engine.files import sha256
from engine.predict import Predictor
from engine.runs import temperature
from pages.ui import folders, weights
from pages.ui.classify import cards, networks, pictures, samples
from pages.ui.classify.export import to_csv
from pages.ui.scenes import SCENES, SIDE
from tests.pages.classify.helpers import (
    CLASSES,
    articles,
    captions,
    figures,
    png,
    put,
    sample_names,
)


def test_a_picture_stands_beside_its_input_with_its_likeliest_classes(page, network):
    network("a", says=3)
    (card,) = articles(page(("my cat.png", png((60, 40)))))
    assert "my cat.png" in card and "60×40 pixels" in card
    assert card.count("<img") == 2 and "32×32 input" in card
    assert card.count("<li>") == 5 and '<div class="verdict">c3</div>' in card
    assert "&gt; 99.9 %" in card and "May be none" not in card


def test_the_number_of_classes_can_be_chosen(page, network):
    network("a", classes=CLASSES[:4])
    app = page(("x.png", png()))
    for k, shown in [(1, 1), (3, 3), (10, 4)]:
        app.slider(key="topk").set_value(k).run()
        assert articles(app)[0].count("<li>") == shown


def test_crop_and_pad_give_the_network_different_inputs(page, network):
    network("a")
    app = page(("x.png", png((90, 30))))
    before = articles(app)[0]
    app.get("button_group")[0].set_value("pad").run()
    assert not app.exception and articles(app)[0] != before


def test_the_shown_input_is_what_is_fed_to_the_network(network, page):
    """Computed again from the picture on the page, the answer is the same."""
    picture = pictures.read_upload("x.png", png((90, 30)))
    network("a")
    ready = networks.load(weights.choices()["a/best"])
    for fit in ("crop", "pad"):
        assert picture.inputs[fit].shape == (3, 32, 32)
        fed = ready.predictor.probabilities(picture.inputs[fit][None])[0]
        assert dict(ready.answers([picture], fit, 10)[0].top) == {
            label: float(p) for label, p in zip(CLASSES, fed, strict=True)
        }


def test_a_network_that_is_sure_of_nothing_is_marked(page, network):
    network("a", says=None)
    app = page(("x.png", png()), ("y.png", png(colour="blue")))
    assert all("May be none of these classes" in card for card in articles(app))
    assert "2 of 2 may be none of these classes" in figures(app)
    assert "below 50 %" in captions(app) and "no guarantee" in captions(app)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((0.9, 0.1), ""),
        ((0.54, 0.36, 0.1), "it could also be b (36.0 %)."),
        ((0.45, 0.1, 0.09, 0.08), "no other class comes close."),
        ((0.4, 0.2, 0.15, 0.1), "it could also be b (20.0 %) or c (15.0 %)."),
        ((0.3, 0.2, 0.15, 0.12), "it could also be b (20.0 %), c (15.0 %) or one more class."),
        ((0.2,) * 5, "it could also be b (20.0 %), c (20.0 %) or one of 2 more classes."),
        ((1.0,), ""),
    ],
)
def test_what_an_answer_is_not_sure_about_is_said(values, named):
    ranked = list(zip("abcdefg", values, strict=False))
    answer = cards.Answer("n", ranked[:1], tuple("abcdefg"), tuple(cards.could_be(ranked)))
    assert answer.doubt.endswith(named) and bool(answer.doubt) == bool(named)


def test_the_card_says_what_is_in_doubt_whatever_number_of_classes_is_shown(page, network):
    network("a", says=None)
    app = page(("x.png", png()))
    app.slider(key="topk").set_value(1).run()
    said = "Not sure: it could also be c1 (10.0 %), c2 (10.0 %) or one of 7 more classes."
    assert said in articles(app)[0]


def test_a_temperature_beside_the_weights_calibrates_and_is_said(page, network):
    run = network("a", says=3)
    app = page(("x.png", png()))
    assert "&gt; 99.9 %" in articles(app)[0] and "calibrated" not in captions(app)
    weights_file = run.path / "best.safetensors"
    temperature.write(weights_file, sha256(weights_file), 15.0, {})
    app.run()
    assert "calibrated (temperature 15.00)" in captions(app)
    assert "45.1 %" in articles(app)[0]  # e² / (e² + 9)
    temperature.path_of(weights_file).unlink()
    app.run()
    assert "&gt; 99.9 %" in articles(app)[0] and "calibrated" not in captions(app)


def test_a_file_is_decoded_once_whatever_is_changed(page, network, monkeypatch):
    network("a")
    decoded = []
    real = pictures.decode_image
    monkeypatch.setattr(pictures, "decode_image", lambda *a: decoded.append(1) or real(*a))
    app = page(("x.png", png()), ("y.png", b"bad"))
    app.slider(key="topk").set_value(2).run()
    assert len(decoded) == 2 and len(articles(app)) == 1 and len(app.error) == 1
    put(app)
    assert "classify_read" not in app.session_state and not articles(app)


def test_one_click_on_a_sample_classifies_it_and_a_second_puts_it_back(page, network):
    network("a", says=2, classes=("cat", "truck", "dog", "unknown"))
    app = page()
    assert sample_names(app) == ["cat", "truck", "dog"]
    app.button(key="sample_dog").click().run()
    (card,) = articles(app)
    assert "drawn by this app" in card and "correct: <b>dog</b>" in card and "✓ right" in card
    app.button(key="sample_cat").click().run()
    (card,) = articles(app)
    assert "correct: <b>cat</b>" in card and "✗ wrong" in card
    app.button(key="sample_cat").click().run()
    assert not app.exception and not articles(app)


def test_an_upload_takes_the_place_of_a_sample(page, network):
    network("a", says=0, classes=("cat", "dog"))
    app = page()
    app.button(key="sample_dog").click().run()
    put(app, ("x.png", png()))
    (card,) = articles(app)
    assert "x.png" in card
    app.button(key="sample_dog").click().run()
    assert ["correct: " in card for card in articles(app)] == [True, False]


def test_the_samples_of_the_shapes_are_their_test_images(page, network, shapes_root):
    images = data.load("shapes", shapes_root)
    network("a", says=0, classes=images.classes)
    found = samples.offered(images.classes)
    assert tuple(found) == images.classes
    for name, file in found.items():
        index = int(re.search(r"\d+", file.about)[0])
        assert images.classes[images.test_labels[index]] == name
        seen = pictures.read_upload(name, file.read()).inputs["crop"]
        assert (seen == images.test_images[index].numpy()).all()


def test_a_network_of_other_classes_has_no_samples(page, network):
    network("a")
    app = page()
    assert not sample_names(app) and "No picture at hand" not in captions(app)


def test_scenes_are_drawn_the_same_at_every_start():
    assert set(SCENES) == {
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"
    }  # fmt: skip
    for draw in SCENES.values():
        first, again = draw(), draw()
        assert first.size == (SIDE, SIDE) and first.tobytes() == again.tobytes()


def test_the_shipped_network_knows_most_scenes():
    """Trained on photographs; it knew all ten when they were drawn."""
    predictor = Predictor.load(folders.SHIPPED / "speedrun-wide")
    rows = predictor.top_k([draw() for draw in SCENES.values()], 1)
    assert sum(row[0][0] == name for row, name in zip(rows, SCENES, strict=True)) >= 8


def test_the_csv_has_a_row_a_picture_and_both_networks(network):
    picture = pictures.read_upload("x.png", png())
    answers = [
        cards.Answer(f"{name} · best", [("cat", 0.75), ("dog", 0.25)], ("cat", "dog"))
        for name in "ab"
    ]
    text = to_csv([(picture, answers)], [("bad.png", "damaged")], "pad").decode("utf-8-sig")
    head, row, refused = csv.reader(io.StringIO(text))
    assert head[:5] == ["picture", "about", "fit", "network (1)", "class 1 (1)"]
    first = ["x.png", "60×40 pixels", "pad", "a · best", "cat", "0.75", "dog", "0.25", "", "no"]
    assert row[:13] == [*first, "b · best", "cat", "0.75"]
    assert [cell for cell in row if cell][-1] == "yes"
    assert refused[0] == "bad.png" and refused[-1] == "damaged"


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (1.0, "> 99.9 %"),
        (0.99951, "> 99.9 %"),
        (0.5, "50.0 %"),
        (0.0004, "< 0.1 %"),
        (0, "< 0.1 %"),
    ],
)
def test_a_probability_is_never_shown_as_0_or_100(probability, text):
    assert cards.percent(probability) == text
