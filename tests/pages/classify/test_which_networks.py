"""Classify: the networks that can be chosen, one or two."""

import os

from engine import runs
from engine.runs.run import State
from pages.ui import weights
from tests.pages.classify.helpers import articles, captions, compare, figures, html, png


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
