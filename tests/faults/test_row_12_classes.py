"""Row 12 of docs/FAULTS.md: one class, an empty class, names that collide."""

import io
import zipfile

import pytest
from PIL import Image

from engine.data import layout, load
from engine.errors import DataError


def png():
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, "PNG")
    return file.getvalue()


def make_zip(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"" if name.endswith("/") else png())
    return path


def make_folder(path, names):
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (path / name).mkdir(parents=True, exist_ok=True)
        else:
            (path / name).write_bytes(png())
    return path


CASES = {
    "one class": (["cat/1.png", "cat/2.png"], ["only one class, 'cat'"]),
    "one class of a split": (["train/cat/1.png", "test/cat/1.png"], ["only one class, 'cat'"]),
    "empty class": (["cat/1.png", "cat/2.png", "dog/", "emu/"], ["no images", "'dog', 'emu'"]),
    "class of notes": (["cat/1.png", "cat/2.png", "dog/notes.txt", "dog/"], ["no images", "'dog'"]),
    "empty training class": (
        ["train/cat/1.png", "train/dog/", "test/cat/1.png", "test/dog/1.png"],
        ["no images", "'dog'"],
    ),
    "empty test class": (
        ["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/dog/"],
        ["no test images", "'dog'"],
    ),
    "empty test folder": (["train/cat/1.png", "train/dog/1.png", "test/"], ["test folder"]),
    "unknown test classes": (
        ["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", "test/emu/1.png"],
        ["'emu'", "not among the training classes"],
    ),
    "too few to split": (["cat/1.png", "cat/2.png", "dog/1.png"], ["'dog'", "two or more"]),
}


@pytest.mark.parametrize("make", [make_zip, make_folder])
@pytest.mark.parametrize(("names", "words"), CASES.values(), ids=CASES)
def test_the_message_names_the_class(tmp_path, make, names, words):
    path = make(tmp_path / "pets", names)
    with pytest.raises(DataError) as error:
        load(str(path), tmp_path / "root")
    for word in ["pets", *words]:
        assert word in str(error.value)


COLLISIONS = [("Cat", "cat"), ("straße", "STRASSE"), ("é", "e\u0301")]


@pytest.mark.parametrize(("first", "second"), COLLISIONS)
def test_names_that_collide_by_case_are_both_named(tmp_path, first, second):
    names = [f"{name}/{i}.png" for name in (first, second, "dog") for i in range(2)]
    with pytest.raises(DataError) as error:
        load(str(make_zip(tmp_path / "pets.zip", names)), tmp_path / "root")
    assert repr(first) in str(error.value) and repr(second) in str(error.value)


def test_a_case_collision_across_the_splits_is_an_unknown_test_class():
    files = ["train/cat/1.png", "train/dog/1.png", "test/Cat/1.png", "test/dog/1.png"]
    with pytest.raises(DataError, match="'Cat'"):
        layout.plan(files, [], "pets")


def test_many_names_are_cut_short():
    files = ["train/a/1.png", "train/b/1.png"] + [f"test/{i:03}/1.png" for i in range(100)]
    with pytest.raises(DataError, match=r"'004' and 95 more"):
        layout.plan(files, [], "pets")
