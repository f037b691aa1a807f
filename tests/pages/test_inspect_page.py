"""The Inspect page: which networks and images it offers, and what each of its sections shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from engine import data, runs
from engine.augment import normalize
from engine.config import with_fields
from engine.data.shapes import CLASSES
from engine.device import resolve
from engine.inspect import attribution, calibration, changes, features
from engine.inspect.activations import layers
from engine.inspect.compare import compare
from engine.inspect.confusion import cell, confusion
from engine.inspect.corruptions import CORRUPTIONS, corrupt
from engine.inspect.features import nearest
from engine.inspect.predictions import compute_like, predict
from engine.inspect.sample import sample
from engine.models import build_model
from engine.predict import Predictor, load_network, own_splits
from engine.runs import history
from engine.runs.checkpoint import CheckpointStore, describe_model
from engine.runs.run import State
from pages.ui import folders
from pages.ui.inspect import charts, sure
from pages.ui.inspect import layers as layers_ui

pytestmark = pytest.mark.usefixtures("one_thread")
TESTS = 200  # test images of the built-in data set, as the fixture draws it


@pytest.fixture
def network(runs_root, tiny, tmp_path, monkeypatch):
    """network("a") is a finished run whose network guesses; seed: of its weights."""
    monkeypatch.setattr(folders, "SHIPPED", tmp_path / "shipped")

    def make(name, seed=0, classes=CLASSES, dataset="shapes", holdout=0):
        changes = {"model.num_classes": len(classes), "data.dataset": dataset}
        config = with_fields(tiny(), changes | {"data.holdout": holdout})
        model = build_model("resnet10", len(classes), width=config.model.width, seed=seed)
        run = runs.create(runs_root, name, config)
        info = {"name": dataset, "classes": classes, "mean": [0.5] * 3, "std": [0.25] * 3}
        with run.hold("a test") as writer:
            writer.save_config(config, info)
            writer.update(state=State.FINISHED)
        store = CheckpointStore(run.path, describe_model(config.model))
        store.save(1, model.state_dict(), {})
        return run

    return make


@pytest.fixture
def answers(network, shapes_root, tmp_path):
    """(predictions, labels) of a run's network for the test images, computed without the page."""

    def ask(run):
        images = data.load("shapes", shapes_root)
        steps = predict(run.path, images.test_images, tmp_path / "cache")
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value, images.test_labels

    return ask


@pytest.fixture
def page(app, network):
    def show(**query):
        at = app("pages/6_Inspect.py", **query)
        assert not at.exception
        return at

    return show


def texts(at):
    elements = [*at.markdown, *at.caption, *at.info, *at.warning, *at.error]
    return "\n".join(element.value for element in elements)


def pictures(at, key):
    """Numbers of the images that a gallery shows, in order."""
    start = f"open_{key}_"
    return [int(b.key[len(start) :]) for b in at.button if (b.key or "").startswith(start)]


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


@pytest.fixture
def plain(network):
    """(Predictor, test images, labels) of a run's network, computed without the page."""

    def make(run, root):
        compute = resolve("cpu", "fp32")
        images = data.load("shapes", root)
        return Predictor(load_network(run.path, compute, "plain"), compute), images

    return make


@pytest.fixture
def why(page, network, plain, shapes_root):
    """The section for image 7 of a network: (page, predictor, data)."""
    run = network("a")
    return page(section="Why this answer", image="7"), *plain(run, shapes_root)


def table(at, *columns):
    return next(
        frame.value for frame in at.dataframe if set(columns) <= set(map(str, frame.value.columns))
    )


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


def test_the_sum_of_integrated_gradients_is_shown_beside_what_it_should_be(why):
    at, predictor, images = why
    target = at.selectbox(key="explained_class").value
    exact = attribution.explain(predictor.network, images.test_images[7], target).integrated
    assert exact.is_complete
    assert f"mean color by {exact.difference:+.2f}" in texts(at)


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


def spoken(at):
    return "\n".join(element.value for element in at.markdown)


@pytest.fixture
def section(page):
    """section("How sure it is") opens the page at a section."""
    return lambda title, **query: page(section=title, **query)


def test_the_calibration_error_and_the_temperature_are_those_of_the_network(
    section, network, answers
):
    found, labels = answers(network("a"))
    fit = calibration.fit_temperature(found.logits, labels)
    at = section("How sure it is")
    assert at.metric[0].value == f"{fit.temperature:.2f}"
    for scale, on in ((1.0, False), (fit.temperature, True)):
        at.toggle(key="reliability_scaled").set_value(on).run()
        bins = calibration.reliability(found.probabilities(scale), labels)
        assert f"error **{100 * calibration.expected_error(bins):.2f} %**" in spoken(at)


def test_a_stored_temperature_is_found_by_classify(section, network):
    run = network("a")
    at = section("How sure it is")
    fitted = float(at.metric[0].value)
    at.button(key="store_temperature").click().run()
    assert not at.exception
    stored = Predictor.load(run.path).temperature
    assert stored == pytest.approx(fitted, abs=0.005)
    assert f"stored {stored:.2f}" in texts(at)


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
    assert list(shown.index) == list(CORRUPTIONS)
    images = data.load("shapes", folders.DATA_ROOT)
    drawn = sample(images.test_images, images.test_labels, 50)
    predictor = Predictor(*inference(run))
    answers_ = predictor.logits(corrupt(drawn.images, "noise", 3)).argmax(1)
    right = (answers_ == drawn.labels).float().mean().item()
    assert shown.loc["noise", "Severity 3"] == pytest.approx(100 * right)


def inference(run):
    """The network as its run's validation would compute it on this machine, and the precision."""
    compute, kind = compute_like(run)
    return load_network(run.path, compute, kind), compute


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


def test_from_the_detail_back_to_the_pictures(page, network):
    network("a")
    at = page()
    assert "back" not in [button.key for button in at.button]
    next(b for b in at.button if (b.key or "").startswith("open_cell_")).click().run()
    at.button(key="back").click().run()
    assert at.session_state["section"] == "errors"
    assert at.metric[0].label.startswith("Accuracy on")


@pytest.mark.parametrize(
    ("temperature", "after", "expected"),
    [
        (1.5, 0.4, "too sure"),
        (0.6, 0.4, "not sure enough"),
        (1.02, 0.4, "well calibrated"),
        (1.5, 0.5, "well calibrated"),
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
