"""The Classify page: which networks it offers, what it shows of pictures and of test images."""

import csv
import dataclasses
import io
import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

from engine import data, runs
from engine.augment import normalize
from engine.config import with_fields
from engine.inspect import attribution
from engine.models import build_model
from engine.predict import Predictor
from engine.runs import temperature
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import State
from pages.ui import folders, weights
from pages.ui.classify import cards, networks, pictures, samples, why
from pages.ui.classify.edits import Edit, Square
from pages.ui.classify.export import to_csv
from pages.ui.scenes import SCENES, SIDE

CLASSES = tuple(f"c{i}" for i in range(10))


def png(size=(60, 40), colour="red"):
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def root(runs_root, tmp_path, monkeypatch):
    """The folder of the runs that the page sees; shipped ones lie in its neighbour "shipped"."""
    monkeypatch.setattr(folders, "SHIPPED", tmp_path / "shipped")
    return runs_root


@pytest.fixture
def network(root, tiny):
    """network("a", says=3) is a run whose network is sure of class 3; says=None: of nothing."""

    def make(name, folder=None, says=3, classes=CLASSES, kinds=("best", "last"), dataset="shapes"):
        changes = {"model.num_classes": len(classes), "data.dataset": dataset}
        config = with_fields(tiny(), changes)
        model = build_model("resnet10", len(classes), width=config.model.width)
        with torch.no_grad():
            head = list(model.parameters())[-2:]
            head[0].zero_(), head[1].zero_()
            if says is not None:
                head[1][says] = 30.0
        run = runs.create(folder or root, name, config)
        info = {"name": dataset, "classes": classes, "mean": [0.5] * 3, "std": [0.25] * 3}
        with run.hold("a test") as writer:
            writer.save_config(config, info)
        store = CheckpointStore(run.path, describe_model(config.model))
        if "best" in kinds:
            store.save_best(model.state_dict(), 1, 0.5)
        if "last" in kinds:
            store.save(1, model.state_dict(), {})
        return run

    return make


@pytest.fixture
def page(app, root):
    """page(("a.png", bytes), …) opens the page and uploads these files."""

    def show(*files):
        at = app("pages/5_Classify.py")
        if files:
            put(at, *files)
        assert not at.exception
        return at

    return show


def put(app, *files):
    app.file_uploader(key="upload").set_value([(n, c, "image/png") for n, c in files]).run()
    assert not app.exception


def html(app):
    return "".join(element.proto.body for element in app.get("html"))


def articles(app):
    return re.findall(r"<article.*?</article>", html(app))


def figures(app):
    return "".join(markdown.value for markdown in app.markdown).replace("*", "")


def captions(app):
    return " ".join(caption.value for caption in app.caption)


# ---------------------------------------------------------------------------- which networks


def test_without_a_network_it_says_what_to_do(page):
    app = page()
    assert "no trained network here yet" in app.info[0].value
    assert not app.selectbox and not app.error
    assert [link.proto.label for link in app.get("page_link")] == ["Train a network"]


def test_a_run_in_training_without_weights_is_waited_for(page, network):
    with network("new", kinds=()).hold("a test") as writer:
        writer.begin((State.QUEUED,))
        assert "network is training" in page().info[0].value


def test_a_run_in_training_with_weights_is_tried(page, network):
    run = network("a", says=6)
    with run.hold("a test") as writer:
        writer.begin((State.QUEUED,))
        writer.update(epoch=2, epochs=9)
        app = page(("x.png", png()))
        assert '<div class="verdict">c6' in articles(app)[0]
        assert "training now (epoch 2 of 9)" in captions(app)


def test_shipped_networks_come_first_then_own_runs_newest_first(page, network, root, tmp_path):
    network("old", kinds=("last",))
    network("no-weights", kinds=())
    network("new")
    os.utime(root / "old" / "config.json", (1, 1))
    network("b", folder=tmp_path / "shipped", kinds=("best",))
    network("a", folder=tmp_path / "shipped", kinds=("best",))
    app = page()
    assert app.selectbox(key="checkpoint").options == [
        "pretrained/a · best (chosen on test data)",
        "pretrained/b · best (chosen on test data)",
        "new · best (chosen on test data)",
        "new · last",
        "old · last",
    ]


def test_best_is_called_chosen_on_test_data_unless_images_were_held_out(page, network):
    run = network("a")
    with run.hold("a test") as writer:
        writer.update(val_is_test=False, best_acc=0.75, best_epoch=4, final_acc=0.5)
    app = page()
    assert app.selectbox(key="checkpoint").options == ["a · best", "a · last"]
    assert "75.00 % on held-out images after epoch 4" in captions(app)
    with run.hold("a test") as writer:
        writer.update(val_is_test=True)
    app = page()
    assert "75.00 % on test images after epoch 4, chosen by this figure" in captions(app)
    app.selectbox(key="checkpoint").set_value("a/last").run()
    assert "50.00 % on test images after the last full epoch" in captions(app)


def test_accuracies_on_the_re_encoded_cifar10_are_named_apart():
    assert weights.dataset_title("cifar10-jpeg") == "CIFAR-10 (JPEG)"
    assert weights.dataset_title("cifar10") == "CIFAR-10"
    assert weights.dataset_title("pets.v2") == "pets.v2"


def test_the_classes_it_knows_are_listed(page, network):
    network("a", says=0, classes=("cat", "<b>dog</b>", "a*b*"))
    app = page(("x.png", png()))
    assert "<span>cat</span><span>&lt;b&gt;dog&lt;/b&gt;</span><span>a*b*</span>" in html(app)
    assert "<b>dog" not in html(app)


def test_many_classes_are_folded_away(page, network):
    network("a", classes=tuple(f"c{i}" for i in range(100)))
    assert "Classes (100)" in [expander.label for expander in page().expander]


def test_new_weights_under_the_same_name_are_loaded(page, network, root):
    network("a", says=3)
    app = page(("x.png", png()))
    assert ">c3<" in articles(app)[0]
    network("b", says=5)
    (root / "b" / "best.safetensors").replace(root / "a" / "best.safetensors")
    app.selectbox(key="checkpoint").set_value("a/best").run()
    assert '<div class="verdict">c5' in articles(app)[0]


def test_a_chosen_network_that_was_deleted_gives_way(page, network):
    run = network("b")
    network("a")
    app = page(("x.png", png()))
    app.selectbox(key="checkpoint").set_value("b/last").run()
    app.selectbox(key="checkpoint_2").set_value("a/last").run()
    runs.delete(run)
    app.run()
    assert not app.exception and len(articles(app)) == 1
    assert app.selectbox(key="checkpoint").value == "a/best"


# ---------------------------------------------------------------------------- own pictures


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
    temperature.write(weights_file, temperature.sha256(weights_file), 15.0, {})
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


# ---------------------------------------------------------------------------- samples


def sample_names(app):
    return [b.key.removeprefix("sample_") for b in app.button if (b.key or "").startswith("sample")]


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


# ---------------------------------------------------------------------------- rotate and crop


def quarters():
    """A picture 80×40, in four colors: red and green above blue and white."""
    image = Image.new("RGB", (80, 40), "red")
    image.paste("lime", (40, 0, 80, 20))
    image.paste("blue", (0, 20, 40, 40))
    image.paste("white", (40, 20, 80, 40))
    return image


def middle(pixels):
    return tuple(pixels[:, 16, 16].tolist())


def read(edit, image=None):
    file = io.BytesIO()
    (image or quarters()).save(file, "PNG")
    return pictures.read_upload("x", file.getvalue(), edit=edit)


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


# ---------------------------------------------------------------------------- why


@pytest.fixture
def guessing(network):
    """A run whose network has random weights; all features speak for all of its classes."""
    torch.manual_seed(0)
    run = network("a", says=0, classes=("cat", "dog", "emu"))
    model = build_model("resnet10", 3, width=run.config().model.width)
    with torch.no_grad():
        list(model.parameters())[-2].abs_()
    CheckpointStore(run.path, describe_model(run.config().model)).save_best(
        model.state_dict(), 2, 0.5
    )
    return run


def open_why(app, key="sample_cat"):
    app.session_state[f"why_{key}"] = True
    app.run()
    assert not app.exception
    return app


def heatmaps(app):
    return app.get("image")


def test_why_is_computed_when_it_is_opened_and_for_any_class(page, guessing, monkeypatch):
    asked = []
    real = why.class_activation

    def spy(network, pixels, target):
        asked.append((pixels.copy(), target))
        return real(network, pixels, target)

    monkeypatch.setattr(why, "class_activation", spy)
    app = page()
    app.button(key="sample_cat").click().run()
    assert not asked and not heatmaps(app)
    open_why(app)
    (choice,) = [box for box in app.selectbox if box.label == "What speaks for this class"]
    answer = re.search(r'"verdict">(\w+)', articles(app)[0])[1]
    assert choice.options[choice.value] == f"{answer} (the answer)"
    seen = pictures.read_upload("x", samples.offered(("cat",))["cat"].read()).inputs["crop"]
    ((pixels, target),) = asked
    assert target == choice.value and (pixels == seen).all()
    other = (target + 1) % 3
    choice.set_value(other).run()
    assert [target for _, target in asked] == [target, other]
    assert len(heatmaps(app)) == 1 and "Grad-CAM" in captions(app)


def test_why_uses_the_plain_network_in_fp32(guessing):
    choice = weights.choices()["a/best"]
    network = weights.plain_network(choice)
    modules = {type(module).__module__ for module in network.model.modules()}
    assert not [name for name in modules if name.startswith("engine.fast")]
    assert {p.dtype for p in network.model.parameters()} == {torch.float32}
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    x = normalize(pixels[None], network.mean, network.std)
    expected = attribution.grad_cam(network.model, x, 1)
    found = attribution.class_activation(network, pixels.numpy(), 1)
    assert found.any() and (found == expected.numpy()).all()


def test_where_nothing_speaks_for_a_class_that_is_said(page, network):
    network("a", says=0, classes=("cat", "dog"))
    app = page()
    app.button(key="sample_cat").click().run()
    open_why(app)
    assert "finds nothing" in app.info[0].value and not heatmaps(app)


def test_each_of_two_networks_has_its_own_heatmap(page, network, guessing):
    network("b", says=0, classes=("cat", "dog", "emu"))
    app = page()
    app.selectbox(key="checkpoint").set_value("a/best").run()
    app.selectbox(key="checkpoint_2").set_value("b/best").run()
    app.button(key="sample_cat").click().run()
    open_why(app)
    asked = [box.label for box in app.selectbox if "what speaks" in box.label]
    assert asked == [f"{name} · best: what speaks for" for name in "ab"]
    assert len(heatmaps(app)) == 1 and "finds nothing" in app.info[0].value


# ---------------------------------------------------------------------------- two networks


def compare(page, first, second, *files):
    app = page(*files)
    app.selectbox(key="checkpoint").set_value(first).run()
    app.selectbox(key="checkpoint_2").set_value(second).run()
    assert not app.exception
    return app


def test_two_networks_that_agree_and_two_that_differ(page, network):
    network("a", says=3), network("b", says=3), network("c", says=4)
    files = [("x.png", png()), ("y.png", png(colour="blue"))]
    app = compare(page, "a/best", "b/best", *files)
    assert "The two agree on 2 of 2" in figures(app)
    card = articles(app)[0]
    assert "Both agree" in card and "a · best" in card and "b · best" in card
    assert card.count("<li>") == 10
    app.selectbox(key="checkpoint_2").set_value("c/last").run()
    assert "The two agree on 0 of 2" in figures(app) and "They differ" in articles(app)[0]


def test_networks_with_no_class_in_common_are_not_said_to_differ(page, network):
    network("a"), network("z", classes=("cat", "dog", "emu", "fox"))
    files = [("x.png", png()), ("y.png", png(colour="blue"))]
    app = compare(page, "a/best", "z/best", *files)
    assert "agree" not in figures(app)
    assert "They differ" not in html(app) and "no class in common" in captions(app)
    assert "Classes of a · best" in html(app) and "Classes of z · best" in html(app)


def test_a_network_is_not_compared_with_itself(page, network):
    network("a")
    app = page()
    assert app.selectbox(key="checkpoint_2").options == ["a · last"]


# ---------------------------------------------------------------------------- test images


@pytest.fixture
def tests_of(page):
    """tests_of(app) opens the tab of the test images."""

    def switch(app):
        app.session_state["source"] = "Random test images"
        app.run()
        assert not app.exception
        return app

    return switch


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
