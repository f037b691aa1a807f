"""Row 42 of docs/FAULTS.md: a data set is known by its contents, not by its path alone."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil

import pytest
import torch

import train
from engine import data
from engine.config import RunConfig, with_fields
from engine.data.fingerprint import with_fingerprint
from engine.models import build_model
from engine.predict import to_image
from engine.runs.checkpoint import describe_model, save_weights
from engine.runs.compare import data_differences, data_id, differing, seed_groups
from engine.runs.naming import describe
from engine.runs.run import State
from pages.ui import choices, readings, tables
from pages.ui.weights import dataset_title

CLASSES = ("cat", "dog")


def write_images(folder, seed: int = 0, count: int = 12, classes=CLASSES):
    """train/<class>/<n>.png and test/<class>/<n>.png of noise; returns the folder."""
    generator = torch.Generator().manual_seed(seed)
    for split in ("train", "test"):
        for name in classes:
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = torch.randint(0, 256, (3, 32, 32), generator=generator, dtype=torch.uint8)
                to_image(pixels).save(folder / split / name / f"{i}.png")
    return folder


@pytest.fixture
def pets(tmp_path):
    return write_images(tmp_path / "pets")


@pytest.fixture
def own(tmp_path, tiny):
    """own(folder, seed=1): the config of a run of 4 steps on a folder."""

    def make(folder, **changes):
        base = {"data.dataset": str(folder), "data.root": str(tmp_path / "data")}
        return tiny(**{**base, "data.holdout": 0, "data.limit": None, **changes})

    return make


@pytest.fixture
def stopped(own, pets, make_run, train_run, one_thread, every_step):
    """A run on `pets` that was stopped in its first epoch."""
    run, answers = make_run("a", own(pets)), iter([None, None])
    assert train_run(run, ask=lambda: next(answers, "stop")) is State.STOPPED
    return run


def swap(folder, a: str, b: str) -> None:
    first, second = (folder / each for each in (a, b))
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def another_image(pets) -> None:
    swap(pets, "test/cat/0.png", "train/cat/0.png")


def another_test_image(pets) -> None:
    to_image(torch.zeros(3, 32, 32, dtype=torch.uint8)).save(pets / "test/cat/0.png")


def another_order(pets) -> None:
    swap(pets, "train/cat/0.png", "train/cat/1.png")  # classes, mean and std stay the same


def another_label(pets) -> None:
    swap(pets, "train/cat/11.png", "train/dog/0.png")


def fewer_test_images(pets) -> None:
    (pets / "test/dog/3.png").unlink()


def another_name(pets) -> None:
    for split in ("train", "test"):
        (pets / split / "dog").rename(pets / split / "wolf")


CHANGES = {
    another_image: "the training images, or their order; the test images, or their order",
    another_test_image: "the test images, or their order",
    another_order: "the training images, or their order",
    another_label: "the training images, or their order",
    fewer_test_images: "the number of test images (23; were 24)",
    another_name: "the classes ('cat', 'wolf'; were 'cat', 'dog')",
}


@pytest.mark.parametrize(
    ("change", "named"), CHANGES.items(), ids=lambda v: getattr(v, "__name__", "")
)
def test_a_resume_on_changed_images_is_refused_with_what_changed(
    stopped, pets, change, named, capsys
):
    change(pets)
    before = (stopped.path / "status.json").read_bytes()
    assert train.main(["--name", "a", "--resume", "--run-root", str(stopped.path.parent)]) == 2
    message = capsys.readouterr().err
    assert "are not those that run 'a' began with" in message
    assert message.rstrip().endswith(f"Changed: {named}")
    assert (stopped.path / "status.json").read_bytes() == before


def test_labels_alone_can_differ():
    images, labels = torch.zeros(4, 3, 32, 32, dtype=torch.uint8), torch.tensor([0, 0, 1, 1])
    third = (1 / 3,) * 3
    known = data.ImageData("d", CLASSES, third, third, images, labels, images, labels)
    relabelled = dataclasses.replace(known, test_labels=torch.tensor([0, 1, 0, 1]))
    described = [with_fingerprint(each).describe() for each in (known, relabelled)]
    assert data_differences(*described) == ["the test labels"]
    assert data_differences(described[0], described[0]) == []


def test_images_that_were_moved_can_be_named_in_a_resume(stopped, pets, capsys):
    elsewhere = pets.rename(pets.with_name("moved"))
    words = ["--name", "a", "--resume", "--run-root", str(stopped.path.parent)]
    assert train.main(words) == 2
    root = shlex.quote(str(stopped.path.parent))
    command = f"train.py --name a --resume --run-root {root} --dataset NEW-PLACE"
    assert command in capsys.readouterr().err
    assert train.main([*words, "--dataset", str(elsewhere)]) == 0
    assert stopped.status().state is State.FINISHED
    assert stopped.config().data.dataset == str(elsewhere)


def test_other_images_cannot_be_named_in_a_resume(stopped, tmp_path, capsys):
    other = write_images(tmp_path / "other", seed=1)
    words = ["--name", "a", "--resume", "--run-root", str(stopped.path.parent)]
    assert train.main([*words, "--dataset", str(other)]) == 2
    assert "Changed: the training images, or their order" in capsys.readouterr().err
    assert stopped.status().state is State.STOPPED
    assert stopped.config().data.dataset == str(tmp_path / "pets")


def test_a_run_that_has_not_begun_keeps_its_data_set(make_run, tmp_path, pets, own, capsys):
    make_run("a", own(pets))
    words = ["--name", "a", "--resume", "--run-root", str(tmp_path), "--dataset", "shapes"]
    assert train.main(words) == 2
    assert "a resumed run keeps its own" in capsys.readouterr().err


def test_an_older_run_without_a_fingerprint_is_compared_as_before(stopped, pets, train_run):
    values = json.loads((stopped.path / "config.json").read_text())
    del values["dataset_info"]["fingerprint"]
    (stopped.path / "config.json").write_text(json.dumps(values))
    another_order(pets)
    assert train_run(stopped) is State.FINISHED
    assert stopped.dataset_info()["fingerprint"]["train"]["count"] == 24


def test_runs_before_and_after_a_change_are_no_seeds_of_one_another(own, pets, make_run, train_run):
    names = ("before", "also", "after", "moved")
    seeds = dict(zip(names, range(4), strict=True))
    trained = {}
    for name in names:
        if name == "after":
            elsewhere = shutil.copytree(pets, pets.with_name("elsewhere"))
            another_test_image(pets)
        place = elsewhere if name == "moved" else pets
        trained[name] = make_run(name, own(place, epochs=1, seed=seeds[name]))
        train_run(trained[name])
    configs = {name: run.config() for name, run in trained.items()}
    infos = {name: run.dataset_info() for name, run in trained.items()}
    assert seed_groups(configs, infos) == [["before", "also", "moved"], ["after"]]
    assert differing(list(configs.values()), list(infos.values())) == ["data.dataset"]
    # The table tells them apart too, though the folder has one name.
    table = tables.run_table([(trained[n], trained[n].status()) for n in ("before", "after")])
    first, second = (f"pets ({data_id(infos[n])})" for n in ("before", "after"))
    assert table["Data set"].tolist() == [first, second] and first != second
    alone = tables.run_table([(trained[n], trained[n].status()) for n in ("before", "also")])
    assert alone["Data set"].tolist() == ["pets", "pets"]


def test_an_identical_run_is_told_by_its_images_wherever_they_lie(app, finished, pets):
    def told(folder) -> bool:
        readings.version.clear()  # of some seconds ago
        config = choices.encode(with_fields(known, {"data.dataset": str(folder)}))
        at = app("pages/1_Train.py", choices=config)
        assert not at.exception and not at.error
        return any("An identical run exists: **twin**" in info.value for info in at.info)

    settings = {"data.dataset": str(pets), "data.holdout": 0, "data.limit": None}
    twin = finished("twin", **settings)
    known = twin.config()
    with twin.hold("a test") as writer:
        writer.save_config(known, data.load(str(pets), pets.parent / "data").describe())
    assert told(pets)
    moved = pets.rename(pets.with_name("moved"))
    assert told(moved)
    other = write_images(pets, seed=1)
    assert not told(other), "other images at the old place"
    another_test_image(moved)
    assert not told(moved), "changed since"


def test_queued_and_older_runs_are_compared_by_path(own, pets):
    a, b = own(pets), own(pets, seed=1)
    old = {"classes": ["x", "y"], "mean": [0.5] * 3, "std": [0.25] * 3}
    assert seed_groups({"a": a, "b": b}, {"a": None, "b": old}) == [["a", "b"]]
    assert seed_groups({"a": a, "b": b}, {"a": old, "b": old}) == [["a", "b"]]
    other = {**old, "mean": [0.4] * 3}
    assert seed_groups({"a": a, "b": b}, {"a": old, "b": other}) == [["a"], ["b"]]
    elsewhere = with_fields(b, {"data.dataset": "elsewhere"})
    assert seed_groups({"a": a, "b": elsewhere}, {"a": old, "b": old}) == [["a"], ["b"]]


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        *(("cifar10", "cifar10"), ("a/pets-1.0", "pets-1.0"), ("a/pets-1.1", "pets-1.1")),
        *(("pets-1.1.zip", "pets-1.1"), ("PETS.ZIP", "PETS"), ("pets.v2", "pets.v2")),
        *(("a/cifar10", "cifar10 (own images)"), ("Shapes.zip", "Shapes (own images)")),
        *(("a/b/../c/..", "a"), ("a/b/", "b")),
    ],
)
def test_names_are_whole_and_not_those_of_the_built_in_data(dataset, name):
    assert data.name_of(dataset) == name


def test_a_folder_named_cifar10_is_not_shown_as_cifar_10(tmp_path):
    folder = write_images(tmp_path / "cifar10", count=2)
    name = data.load(str(folder), tmp_path / "root").name
    assert dataset_title(name) == "cifar10 (own images)"
    assert dataset_title("cifar10") == "CIFAR-10"


@pytest.fixture
def trained_on(finished):
    """trained_on("shapes" or {}): a run with weights that began with these images."""

    def make(info: dict):
        run = finished("a", **{"data.holdout": 0})
        with run.hold("a test") as writer:
            writer.save_config(run.config(), info)
        model = run.config().model
        header, network = describe_model(model), build_model(**model.arguments)
        for kind in ("best", "last"):
            save_weights(run.path / f"{kind}.safetensors", network.state_dict(), header)
        return run

    return make


def changed(known: dict) -> dict:
    """The description of a data set that has other test images."""
    prints = known["fingerprint"]
    return {**known, "fingerprint": {**prints, "test": {**prints["test"], "images": "other"}}}


OTHER = "not the images that the run was trained on"


@pytest.mark.parametrize("kind", ["same", "changed"])
def test_a_measurement_says_that_the_images_are_others(
    app, trained_on, shapes_root, kind, capsys, one_thread
):
    known = data.load("shapes", shapes_root).describe()
    run = trained_on(known if kind == "same" else changed(known))
    other = kind == "changed"
    words = ["--evaluate", str(run.path / "best.safetensors"), "--run-root", str(run.path.parent)]
    assert train.main(words) == 0
    printed = capsys.readouterr()
    assert (OTHER in printed.err and "the test images" in printed.err) is other
    assert ("(which selected these weights)" in printed.out) is not other
    at = app("pages/2_Runs.py", run="a")
    at.button(key="clean").click().run()
    assert any("clean training" in text.value for text in at.markdown)
    assert any(OTHER in warning.value for warning in at.warning) is other
    at = app("pages/5_Classify.py")
    at.session_state["checkpoint"], at.session_state["source"] = "a/last", "Random test images"
    at.run()
    assert not at.exception
    assert any(OTHER in caption.value for caption in at.caption) is other


def test_the_images_that_selected_weights_are_known_wherever_they_lie(
    trained_on, pets, tmp_path, capsys, one_thread
):
    run = trained_on(data.load(str(pets), tmp_path / "data").describe())
    with run.hold("a test") as writer:
        config = with_fields(run.config(), {"data.dataset": "gone", "model.num_classes": 2})
        writer.save_config(config, run.dataset_info())
    network = build_model(**config.model.arguments)
    save_weights(run.path / "best.safetensors", network.state_dict(), describe_model(config.model))
    words = ["--evaluate", str(run.path / "best.safetensors"), "--dataset", str(pets)]
    assert train.main([*words, "--data-root", str(tmp_path / "data")]) == 0
    assert "(which selected these weights)" in capsys.readouterr().out
    another_test_image(pets)
    assert train.main([*words, "--data-root", str(tmp_path / "data")]) == 0
    assert "(which selected these weights)" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        ("data.dataset", "a/pets-1.0", "pets-1.0"),
        ("data.dataset", "pets-1.1.zip", "pets-1.1"),
        ("pretrained", "pets-1.0", "from-pets-1.0"),
        ("pretrained", "a/net-1.1.safetensors", "from-net-1.1"),
    ],
)
def test_suggested_names_hold_whole_names(path, value, named):
    config = with_fields(RunConfig(), {path: value})
    assert describe(config).endswith(f"-{named}")


def test_the_fingerprint_is_computed_once_and_kept_with_the_decoded_images(
    pets, tmp_path, monkeypatch
):
    first = data.load(str(pets), tmp_path / "root")
    assert (
        first.fingerprint
        == with_fingerprint(dataclasses.replace(first, fingerprint={})).fingerprint
    )
    monkeypatch.setattr("engine.data.fingerprint._sha256", None)
    assert data.load(str(pets), tmp_path / "root").fingerprint == first.fingerprint
