"""The Classify page: which networks it offers, what it shows of pictures and of test images."""

import csv
import io
import os
import re

import pytest
import torch
from PIL import Image

from engine import data, runs
from engine.config import with_fields
from engine.models import build_model
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import State
from pages.ui import folders
from pages.ui.classify import cards, networks, pictures
from pages.ui.classify.export import to_csv

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
    assert networks.dataset_title("cifar10-jpeg") == "CIFAR-10 (JPEG)"
    assert networks.dataset_title("cifar10") == "CIFAR-10"
    assert networks.dataset_title("pets.v2") == "pets.v2"


def test_the_classes_it_knows_are_listed(page, network):
    network("a", says=0, classes=("cat", "<b>dog</b>", "a*b*"))
    app = page(("x.png", png()))
    assert "<span>cat</span><span>&lt;b&gt;dog&lt;/b&gt;</span><span>a*b*</span>" in html(app)
    assert "<b>dog" not in html(app)


def test_many_classes_are_folded_away(page, network):
    network("a", classes=tuple(f"c{i}" for i in range(100)))
    assert [expander.label for expander in page().expander] == ["Classes (100)"]


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
    ready = networks.load(networks.choices()["a/best"])
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


def test_a_file_is_decoded_once_whatever_is_changed(page, network, monkeypatch):
    network("a")
    decoded = []
    real = pictures.decode_image
    monkeypatch.setattr(pictures, "decode_image", lambda c: decoded.append(1) or real(c))
    app = page(("x.png", png()), ("y.png", b"bad"))
    app.slider(key="topk").set_value(2).run()
    assert len(decoded) == 2 and len(articles(app)) == 1 and len(app.error) == 1
    put(app)
    assert "classify_read" not in app.session_state and not articles(app)


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
    truths = [re.search(r"truth: <b>(.*?)</b>", card)[1] for card in shown]
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
    first = ["x.png", "60×40 pixels", "pad", "a · best", "cat", "0.75", "dog", "0.25", "no"]
    assert row[:12] == [*first, "b · best", "cat", "0.75"]
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
