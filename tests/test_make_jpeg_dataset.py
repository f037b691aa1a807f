"""The script that makes CIFAR-10 (JPEG): its zip is what the engine reads, the same every time."""

import hashlib
import io
import zipfile

import pytest
import torch
from PIL import Image

from engine import data
from engine.data import ImageData
from engine.predict import to_input
from scripts import make_jpeg_dataset as script

CLASSES = tuple(f"class{number}" for number in range(10))


@pytest.fixture
def cifar(monkeypatch):
    """Twenty smooth training images and ten test images in place of the archive."""
    ramp = torch.arange(32).mul(4).to(torch.uint8).expand(32, 32)
    images = torch.stack([torch.stack([ramp, ramp.T, ramp.flip(0)]) + i for i in range(20)])
    labels = torch.arange(20) % 10
    made = ImageData(
        "cifar10", CLASSES, (0.5,) * 3, (0.2,) * 3, images, labels, images[:10], labels[:10]
    )
    monkeypatch.setattr(data, "load", lambda name, root, **options: made)
    return made


def test_the_zip_has_every_image_as_the_engine_reads_it(cifar, tmp_path, capsys, monkeypatch):
    file = tmp_path / "small.zip"
    assert script.main([str(file)]) == 0
    assert "30 images" in capsys.readouterr().out
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        assert len(names) == 30
        assert names[0] == "train/class0/0000.jpg"
        assert "train/class3/0001.jpg" in names
        assert "test/class9/0000.jpg" in names
        image = Image.open(io.BytesIO(archive.read("train/class3/0001.jpg")))
        assert (image.format, image.size) == ("JPEG", (32, 32))
        assert [layer[1:3] for layer in image.layer] == [(2, 2), (1, 1), (1, 1)]  # 4:2:0
    monkeypatch.undo()
    read = data.load(str(file), tmp_path / "data")
    assert read.classes == CLASSES
    assert torch.equal(read.train_labels.sort().values, cifar.train_labels.sort().values)
    order = [i for label in range(10) for i in (label, label + 10)]
    error = (read.train_images.int() - cifar.train_images[order].int()).abs().float().mean()
    assert 0 < error < 8  # JPEG's loss, and nothing more


def test_it_writes_the_same_bytes_twice(cifar, tmp_path):
    files = [tmp_path / name for name in ("a.zip", "b.zip")]
    digests = set()
    for file in files:
        script.main([str(file)])
        digests.add(hashlib.sha256(file.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_mistake_is_one_line_and_leaves_nothing(cifar, tmp_path, capsys):
    assert script.main([str(tmp_path / "absent" / "a.zip")]) == 2
    told = capsys.readouterr().err
    assert told.startswith("make_jpeg_dataset.py: ")
    assert told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_it_encodes_and_names_as_in_the_set_that_the_figures_are_of(real_zip):
    with zipfile.ZipFile(real_zip) as archive:
        names = archive.namelist()
        theirs = Image.open(io.BytesIO(archive.read("train/ship/4999.jpg")))
    assert len(names) == 60_000 and "test/truck/0999.jpg" in names
    ours = Image.open(io.BytesIO(script.encode(to_input(theirs))))
    assert ours.quantization == theirs.quantization
    assert ours.layer == theirs.layer
