"""Row 43 of docs/FAULTS.md: images that are not square are cropped or padded, and it is told."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import train
from engine import data, runs
from engine.config import RunConfig, with_fields
from engine.device import resolve
from engine.models import build_model
from engine.predict import Network, Predictor, decode_image, to_input
from engine.runs.checkpoint import CheckpointStore, describe_model
from pages.ui import choices, folders

FOLDER = pytest.mark.parametrize("own_set", ["folder"], indirect=True)


def wide(seed: int) -> bytes:
    """A 96×32 image: red at the left and right third, its middle of one gray level."""
    pixels = np.full((32, 96, 3), (255, 0, 0), np.uint8)
    pixels[:, 32:64] = 50 + seed
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def entries(noisy):
    """Three wide images of cats, and square dogs."""
    names = {f"train/cat/{i}.png": wide(i) for i in range(3)}
    names |= {f"train/dog/{i}.png": noisy(i) for i in range(3)}
    return names | {"test/cat/9.png": wide(9), "test/dog/9.png": noisy(9)}


def is_red(image: torch.Tensor) -> bool:
    return bool(((image[0] > 200) & (image[1] < 50)).any())


def test_the_choice_decides_what_the_network_sees(read, entries):
    cropped, padded = read(entries), read(entries, fit="pad")
    for images in (cropped.train_images, cropped.test_images):
        assert not is_red(images[0]) and images[0].min() > 40  # neither the sides nor bars
    for images in (padded.train_images, padded.test_images):
        assert is_red(images[0]) and images[0][:, :8].max() == 0
    assert torch.equal(cropped.train_images[3:], padded.train_images[3:]), "square ones are kept"
    assert torch.equal(read(entries).train_images, cropped.train_images), "each has its own cache"


def test_the_import_tells_what_it_did(read, entries):
    (note,) = read(entries).notes
    assert note.startswith("4 of 8 images are not square: only their central square is used, 33 %")
    assert "'test/cat/9.png'" in note or "'train/cat/0.png'" in note
    assert "--fit" in note
    assert read(entries, fit="pad").notes == (
        "4 of 8 images are not square: they are padded with black",
    )


def test_nothing_is_told_of_images_that_lose_next_to_nothing(read, noisy):
    sizes = [(32, 32), (100, 96), (96, 100), (500, 500)]
    names = [f"{split}/{c}/1.png" for split in ("train", "test") for c in ("cat", "dog")]
    entries = {name: noisy(i, sizes[i]) for i, name in enumerate(names)}
    assert read(entries).notes == ()


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_classify_sees_what_the_import_saw(read, entries, fit):
    imported = read(entries, fit=fit)
    shown = to_input(decode_image(entries["train/cat/0.png"]), fit)
    assert torch.equal(imported.train_images[0], shown)


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_a_network_is_fed_as_in_its_training(fit):
    config = with_fields(RunConfig(), {"data.fit": fit, "model.num_classes": 2})
    model = build_model("resnet10", 2, width=0.0625).eval()
    network = Network(model, ("cat", "dog"), (0.5,) * 3, (0.25,) * 3, config, Path("none"))
    predictor, image = Predictor(network, resolve("cpu", "fp32")), decode_image(wide(0))
    said = {choice: predictor.probabilities([image], choice) for choice in (None, "crop", "pad")}
    assert np.array_equal(said[None], said[fit])
    assert not np.array_equal(said["crop"], said["pad"])


@FOLDER
def test_the_terminal_tells_it_and_takes_the_choice(own_set, entries, train_on, tmp_path, capsys):
    path = own_set(entries)
    assert train_on(path) == 0
    assert "note: 4 of 8 images are not square: only their central" in capsys.readouterr().out
    assert train_on(path, "--fit", "pad", "--name", "b") == 0
    assert "note: 4 of 8 images are not square: they are padded" in capsys.readouterr().out
    config = runs.open_run(tmp_path / "runs", "b").config()
    assert config.data.fit == "pad" and "--fit pad" in config.to_command()


def test_a_choice_without_effect_is_told(tiny_args, tmp_path, capsys):
    assert train.main(tiny_args(tmp_path, "-e", 1, "--fit", "pad")) == 0
    assert "warning: --fit pad has no effect on images of 32×32" in capsys.readouterr().err


@FOLDER
def test_an_evaluation_fits_images_as_in_training_unless_asked(
    own_set, entries, train_on, tmp_path, capsys
):
    path = own_set(entries)
    assert train_on(path, "--fit", "pad") == 0
    words = ["--evaluate", "a", "--run-root", str(tmp_path / "runs"), "--device", "cpu"]
    for more, done in (([], "they are padded"), (["--fit", "crop"], "only their central")):
        capsys.readouterr()
        assert train.main([*words, *more]) == 0
        assert f"images are not square: {done}" in capsys.readouterr().out


def test_an_earlier_run_keeps_the_crop_that_it_had():
    values = RunConfig().to_dict()
    del values["data"]["fit"]
    config = RunConfig.from_dict(values)
    assert config.data.fit == "crop" and "--fit" not in config.to_command()


@FOLDER
def test_the_train_page_offers_the_choice_and_shows_what_the_network_sees(
    open_own, own_set, entries
):
    at = open_own(own_set(entries))
    told = " ".join(caption.value for caption in at.caption)
    assert "4 of 8 images are not square" in told and "the central square of each" in told
    assert "If not square" in told and "--fit" not in told
    assert len(at.get("image")) == 2, "the strip of augmentations, and the samples"
    at.segmented_control(key="fit").set_value("pad").run()
    assert not at.exception
    told = " ".join(caption.value for caption in at.caption)
    assert "they are padded with black" in told and "padded with black to a square" in told


def test_the_built_in_images_have_no_such_choice(app):
    at = app("pages/1_Train.py")
    assert "fit" not in {control.key for control in at.segmented_control}
    at.session_state["fit"] = "pad"  # left over from images of one's own
    assert not at.run().exception
    assert '"data.fit"' not in at.query_params.get("choices", [""])[0]


@FOLDER
def test_a_link_brings_the_choice(own_set, entries):
    config = with_fields(RunConfig(), {"data.dataset": str(own_set(entries)), "data.fit": "pad"})
    assert choices.decode(choices.encode(config)) == config


def test_the_classify_page_starts_with_the_choice_of_the_network(app, make_net):
    make_net("padded", fit="pad")
    at = app("pages/5_Classify.py")
    assert at.segmented_control(key="classify_fit").value == "pad"
    make_net("cropped", fit="crop")
    at = app("pages/5_Classify.py")
    at.selectbox(key="checkpoint").set_value("cropped/last").run()
    assert at.segmented_control(key="classify_fit").value == "crop"
    at.segmented_control(key="classify_fit").set_value("pad").run()
    assert at.segmented_control(key="classify_fit").value == "pad"
    assert "was trained with: Crop the center" in " ".join(c.value for c in at.caption)
    at.selectbox(key="checkpoint_2").set_value("padded/last").run()
    assert not at.exception


@pytest.fixture
def make_net(runs_root, tiny, tmp_path, monkeypatch):
    """make_net("a", fit="pad") is a run with weights, trained on images that were padded."""
    monkeypatch.setattr(folders, "SHIPPED", tmp_path / "shipped")

    def make(name: str, fit: str) -> None:
        config = tiny(**{"model.num_classes": 10, "data.fit": fit})
        run = runs.create(runs_root, name, config)
        classes = data.load("shapes", config.data.root).classes
        info = {"name": "shapes", "classes": classes, "mean": [0.5] * 3, "std": [0.25] * 3}
        with run.hold("a test") as writer:
            writer.save_config(config, info)
        model = build_model("resnet10", 10, width=config.model.width)
        store = CheckpointStore(run.path, describe_model(config.model))
        store.save(1, model.state_dict(), {})

    return make
