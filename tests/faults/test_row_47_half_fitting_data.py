"""Row 47 of docs/FAULTS.md: data sets that fit only in part are refused, or told of."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from engine.data import layout, load, own, zips
from engine.errors import DataError

FOLDER = pytest.mark.parametrize("own_set", ["folder"], indirect=True)


@pytest.fixture
def pets(noisy):
    """Three classes with two training images and a test image each."""
    names = [f"train/{c}/{i}.png" for c in ("ant", "bee", "cat") for i in (1, 2)]
    names += [f"test/{c}/9.png" for c in ("ant", "bee", "cat")]
    return {name: noisy(seed) for seed, name in enumerate(names)}


def test_a_set_that_fits_is_told_nothing(read, pets):
    data = read(pets)
    assert data.warnings == () and data.notes == ()


def test_a_class_without_test_images_is_told(read, pets):
    entries = {name: pets[name] for name in pets if not name.startswith("test/cat")}
    data = read(entries)
    assert data.class_counts()[2] == ("cat", 2, 0)
    assert data.warnings == ("no test images of class 'cat': accuracy says nothing about it",)


STRAY = {
    "beside the classes": ["train/stray.png"],
    "beside the splits": ["stray.png"],
    "beside the test classes": ["test/stray.png"],
    "in another folder": ["extras/1.png", "extras/deep/2.png"],
    "a validation split that is not used": ["val/ant/1.png", "val/bee/1.png"],
    "unlabelled images": ["unlabeled/1.png"],
}


@pytest.mark.parametrize("names", STRAY.values(), ids=STRAY)
def test_images_in_no_class_are_left_out_and_told(read, pets, noisy, names):
    data = read(pets | {name: noisy(50 + i) for i, name in enumerate(names)})
    assert [row[1:] for row in data.class_counts()] == [(2, 1)] * 3
    (warning,) = data.warnings
    listed = ", ".join(map(repr, names))
    assert warning.startswith("left out, images in no class folder")
    assert warning.endswith(f"({len(names)}): {listed}")


def test_a_stray_image_beside_class_folders_without_splits_is_told(read, noisy):
    entries = {f"{c}/{i}.png": noisy(10 * s + i) for s, c in enumerate("ab") for i in range(5)}
    data = read(entries | {"stray.png": noisy(90)})
    assert data.classes == ("a", "b") and "'stray.png'" in data.warnings[0]


DEPTHS = {
    "both": (["dog/1.png", "dog/2.png", "dog/pug/3.png"], "'dog/pug'"),
    "two folders": (["dog/pug/1.png", "dog/corgi/2.png"], "'dog/corgi', 'dog/pug'"),
}


@pytest.mark.parametrize(("names", "words"), DEPTHS.values(), ids=DEPTHS)
def test_images_at_two_depths_are_told(names, words):
    plan = layout.plan(["cat/1.png", "cat/2.png", *names], [], "pets")
    assert plan.classes == ("cat", "dog")
    assert plan.warnings == (f"images in folders inside a class count as that class: {words}",)


def test_one_folder_inside_each_class_is_customary():
    names = [f"{c}/images/{i}.png" for c in ("cat", "dog") for i in range(3)]
    assert layout.plan(names, [], "pets").warnings == ()


def test_test_images_that_are_training_images_are_told(read, pets):
    pets["test/ant/9.png"] = pets["test/ant/8.png"] = pets["train/ant/1.png"]
    (warning,) = read(pets).warnings
    assert warning.startswith("2 of 4 test images are training images too, such as ")
    assert "'test/ant/8.png' and 'train/ant/1.png'" in warning


def test_the_same_picture_in_other_files_is_a_duplicate(read, pets, noisy):
    """The network sees pixels: another format, or the same file of another name."""
    pets["test/ant/9.bmp"] = noisy(0, kind="BMP")
    (warning,) = read(pets).warnings
    assert "1 of 4 test images" in warning and "'test/ant/9.bmp' and 'train/ant/1.png'" in warning


def test_an_image_in_two_classes_is_told(read, pets):
    pets["train/bee/1.png"] = pets["train/ant/1.png"]
    (warning,) = read(pets).warnings
    assert warning.startswith("1 image is in two classes, such as ")
    assert "'train/bee/1.png' and 'train/ant/1.png'" in warning


def test_duplicates_within_a_class_of_the_training_images_are_told(read, pets):
    pets["train/ant/3.png"] = pets["train/ant/1.png"]
    (warning,) = read(pets).warnings
    assert warning.startswith("1 training image repeats another of the same class, such as ")
    assert "'train/ant/3.png' and 'train/ant/1.png'" in warning
    pets["train/bee/3.png"] = pets["train/bee/1.png"]
    assert read(pets).warnings[0].startswith("2 training images repeat others of the same class")


def test_duplicates_within_a_class_of_the_test_images_are_nothing_to_tell(read, pets):
    pets["test/ant/8.png"] = pets["test/ant/9.png"]
    assert read(pets).warnings == ()


def test_a_split_that_is_made_here_can_leak_too(read, noisy):
    entries = {f"{c}/{i}.png": noisy(s) for s, c in enumerate(("cat", "dog")) for i in range(5)}
    assert "2 of 2 test images are training images too" in read(entries).warnings[0]


def test_warnings_come_from_the_cache_too(read, pets):
    del pets["test/cat/9.png"]
    assert read(pets).warnings == read(pets).warnings != ()


@FOLDER
def test_terminal_and_page_tell_it(open_own, own_set, pets, noisy, train_on, capsys):
    del pets["test/cat/9.png"]
    path = own_set(pets | {"stray.png": noisy(90)})
    assert train_on(path) == 0
    lines = capsys.readouterr().err.splitlines()
    assert "warning: no test images of class 'cat': accuracy says nothing about it" in lines
    shown = [warning.value for warning in open_own(path).warning]
    assert any("No test images of class 'cat'" in text for text in shown)
    assert any("'stray.png'" in text for text in shown)


def test_files_that_cannot_be_read_are_named_together(tmp_path, noisy, pets):
    for name, content in pets.items():
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(content)
    for number in range(11):
        (tmp_path / f"pets/train/ant/z{number:02}.png").symlink_to("gone.png")
    with (tmp_path / "pets/train/bee/0.png").open("wb") as file:
        file.truncate(zips.MAX_IMAGE_BYTES + 1)
    with pytest.raises(DataError) as error:
        load(str(tmp_path / "pets"), tmp_path / "root")
    told = str(error.value)
    assert told.startswith("pets: 12 of 21 images cannot be used")
    assert "train/ant/z00.png: cannot be read (No such file or directory)" in told
    assert told.endswith("; and 2 more")
    for link in (tmp_path / "pets").rglob("z*.png"):
        link.unlink()
    with pytest.raises(DataError, match=r"1 of 10 .*train/bee/0\.png: larger than 64 MB"):
        load(str(tmp_path / "pets"), tmp_path / "root")


def test_a_link_to_nothing_that_is_no_image_is_left_out(tmp_path, pets):
    for name, content in pets.items():
        (tmp_path / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / name).write_bytes(content)
    (tmp_path / "pets/train/latest.txt").symlink_to("gone.txt")
    data = load(str(tmp_path / "pets"), tmp_path / "root")
    assert [row[1:] for row in data.class_counts()] == [(2, 1)] * 3
    assert data.notes == ("left out, not images (1): 'train/latest.txt'",)


def damaged_zip(pets, *names: str) -> bytes:
    """A zip of these images, of which some have a wrong checksum."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in pets.items():
            archive.writestr(name, content)
        checksums = {name: archive.getinfo(name).CRC for name in names}
    content = file.getvalue()
    for value in checksums.values():
        content = content.replace(struct.pack("<L", value), struct.pack("<L", value ^ 1))
    return content


def test_damaged_entries_of_a_zip_are_named_together_and_left_out_of_an_upload(tmp_path, pets):
    bad = ("train/ant/1.png", "test/bee/9.png", "train/cat/2.png")
    content = damaged_zip(pets | {"test/bee/8.png": pets["train/ant/2.png"]}, *bad)
    (tmp_path / "pets.zip").write_bytes(content)
    with pytest.raises(DataError, match="3 of 10 images cannot be used") as error:
        load(str(tmp_path / "pets.zip"), tmp_path / "root")
    assert all(f"{name}: damaged in the zip (Bad CRC-32" in str(error.value) for name in bad)
    checked = own.check(own.open_zip(content, "pets.zip"), "pets.zip")
    assert set(checked.bad) == set(bad)
    assert [row[1:] for row in checked.data.class_counts()] == [(1, 1), (2, 1), (1, 1)]
    assert len(list(own.keep(checked, tmp_path, "pets").rglob("*.png"))) == 7
