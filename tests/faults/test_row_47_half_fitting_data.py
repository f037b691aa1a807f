"""Row 47 of docs/FAULTS.md: data sets that fit only in part are refused, or told of."""

from __future__ import annotations

import pytest

from engine.data import layout

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
