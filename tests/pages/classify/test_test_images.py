"""Classify: test images of a data set."""

import dataclasses
import re

import pytest

from engine import data
from pages.ui import folders
from pages.ui.classify import pictures
from pages.ui.scenes import SCENES
from tests.pages.classify.helpers import articles, figures, png


def test_test_images_show_the_truth_and_count_what_is_right(page, network, tests_of, shapes_root):
    images = data.load("shapes", shapes_root)
    network("a", says=2, classes=images.classes)
    app = tests_of(page())
    shown = articles(app)
    assert len(shown) == pictures.DRAWN
    truths = [re.search(r"correct: <b>(.*?)</b>", card)[1] for card in shown]
    right = truths.count(images.classes[2])
    assert f"{right} of {pictures.DRAWN} right" in figures(app)
    assert sum("✓ right" in card for card in shown) == right
    for card, truth in zip(shown, truths, strict=True):
        index = int(re.search(r"Test image (\d+)", card)[1])
        assert images.classes[images.test_labels[index]] == truth
        assert card.count("<img") == 1  # the image is its own input


def test_new_images_are_drawn_on_request_only(page, network, tests_of, shapes_root):
    network("a", classes=data.load("shapes", shapes_root).classes)
    app = tests_of(page())
    first = articles(app)
    app.slider(key="topk").set_value(4).run()
    names = [re.search(r"Test image \d+", card)[0] for card in first]
    assert names == [re.search(r"Test image \d+", card)[0] for card in articles(app)]
    app.button(key="new_images").click().run()
    assert names != [re.search(r"Test image \d+", card)[0] for card in articles(app)]


@pytest.mark.parametrize("dataset", ["cifar10", "/home/somebody/pets.zip"])
def test_a_data_set_that_is_not_here_is_not_fetched(page, network, tests_of, monkeypatch, dataset):
    network("a", dataset=dataset)
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("loaded"))
    app = tests_of(page())
    (info,) = app.info
    assert "not on this computer" in info.value and "/home" not in info.value
    assert not articles(app)


def test_cifar10_stands_in_for_its_copy_on_another_computer(page, network, tests_of, monkeypatch):
    """The shipped networks were trained on a zip of the same images."""
    made = data.load("shapes", folders.DATA_ROOT)
    classes = tuple(SCENES)
    monkeypatch.setattr(data, "is_available", lambda name, root: name == "cifar10")
    asked = []
    monkeypatch.setattr(
        data,
        "load",
        lambda name, *a, **k: asked.append(name) or dataclasses.replace(made, classes=classes),
    )
    network("a", classes=classes, dataset="gone.zip")
    app = page()
    assert not asked
    (button,) = [b for b in app.button if b.key == "to_tests"]
    assert button.label == "Or random test images of CIFAR-10"
    button.click().run()
    assert not app.exception and app.session_state["source"] == "Random test images"
    assert asked == ["cifar10"] and len(articles(app)) == pictures.DRAWN


def test_uploads_outlive_a_look_at_the_test_images(page, network, tests_of, shapes_root):
    network("a", classes=data.load("shapes", shapes_root).classes)
    app = tests_of(page(("x.png", png())))
    assert len(articles(app)) == pictures.DRAWN
    app.session_state["source"] = "Your pictures"
    app.run()
    assert len(articles(app)) == 1 and "x.png" in articles(app)[0]
