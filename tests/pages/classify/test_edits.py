"""Classify: rotating and cropping."""

import io

import numpy as np
import pytest
from PIL import Image

from engine import data
from pages.ui.classify import pictures
from pages.ui.classify.edits import Edit, Square
from tests.pages.classify.helpers import articles, middle, png, read


@pytest.mark.parametrize(
    ("square", "color"),
    [((0, 0, 20), "red"), ((50, 0, 20), "lime"), ((0, 20, 20), "blue"), ((60, 20, 20), "white")],
)
def test_the_square_given_by_numbers_is_what_the_network_sees(square, color):
    picture, plain = read(Edit(0, Square(*square))), read(Edit(), Image.new("RGB", (9, 9), color))
    for fit in ("crop", "pad"):
        assert (picture.inputs[fit] == plain.inputs[fit]).all()
    assert "cropped to 20×20 pixels at" in picture.about and picture.square


def test_rotation_is_clockwise_and_keeps_the_square_on_its_content():
    edit = Edit(0, Square(50, 0, 20))  # within the green quarter
    size = (80, 40)
    for turns in (1, 2, 3, 0):
        edit = edit.rotated(*size)
        size = size[::-1]
        picture = read(edit)
        assert edit.turns == turns and picture.size == size
        assert middle(picture.inputs["crop"]) == (0, 255, 0)
    assert edit == Edit(0, Square(50, 0, 20))
    turned = read(Edit(1, Square(0, 0, 20)))  # what was at the bottom left is at the top left
    assert middle(turned.inputs["crop"]) == (0, 0, 255)


def test_a_square_is_kept_within_the_picture():
    assert Square(70, 30, 20).within(80, 40) == Square(60, 20, 20)
    assert Square(0, 5, 90).within(80, 40) == Square(0, 0, 40)


def test_a_small_square_of_a_large_jpeg_is_decoded_in_full_detail():
    """A JPEG this large is decoded at an eighth of its size, which would leave 16 pixels."""
    lines = np.zeros((2048, 2048, 3), np.uint8)
    lines[:, ::16] = 255
    lines[:, 1::16] = 255
    file = io.BytesIO()
    Image.fromarray(lines).save(file, "JPEG", quality=95)
    picture = pictures.read_upload("x", file.getvalue(), edit=Edit(0, Square(1024, 1024, 128)))
    assert np.ptp(picture.inputs["crop"][0].astype(int)) > 100


def test_rotating_and_cropping_changes_the_answer_of_that_picture_only(page, network):
    network("a")
    app = page(("x.png", png((60, 40))), ("y.png", png((60, 40))))
    first, second = articles(app)
    key = next(k for k in app.session_state["classify_read"])
    app.session_state[f"edit_{key}"] = True
    app.run()
    app.button(key=f"rotate_{key}").click().run()
    assert "rotated by 90°" in articles(app)[0] and articles(app)[1] == second
    app.checkbox(key=f"crop_{key}").set_value(True).run()
    assert "cropped to 40×40 pixels at (0, 10)" in articles(app)[0]
    assert articles(app)[0].count("<img") == 3  # whole picture, square, input
    app.number_input(key=f"square_side_{key}").set_value(30).run()
    app.number_input(key=f"square_top_{key}").set_value(59).run()
    assert not app.exception
    assert "cropped to 30×30 pixels at (0, 30)" in articles(app)[0]
    assert app.number_input(key=f"square_top_{key}").value == 30
    app.checkbox(key=f"crop_{key}").set_value(False).run()
    for _ in range(3):
        app.button(key=f"rotate_{key}").click().run()
    assert articles(app) == [first, second]


def test_test_images_are_not_edited_and_the_camera_is_closed(page, network, tests_of, shapes_root):
    network("a", classes=data.load("shapes", shapes_root).classes)
    app = page()
    assert not app.get("camera_input")
    app.session_state["camera"] = True
    app.run()
    assert len(app.get("camera_input")) == 1
    app = tests_of(page())
    labels = [expander.label for expander in app.expander]
    assert labels.count("Why?") == pictures.DRAWN and "Rotate and crop" not in labels
