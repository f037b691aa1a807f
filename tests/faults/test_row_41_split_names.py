"""Row 41 of docs/FAULTS.md: folders named like splits are splits or refused, never classes."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

import train
from engine import runs
from engine.data import layout, load, splits
from engine.errors import DataError
from pages.ui import folders

PAGE = "pages/1_Train.py"


def png(shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.new("L", (32, 32), shade).save(file, "PNG")
    return file.getvalue()


def make_zip(path: Path, names: list[str]) -> Path:
    path = path.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for index, name in enumerate(names):
            archive.writestr(name, b"" if name.endswith("/") else png(index))
    return path


def make_folder(path: Path, names: list[str]) -> Path:
    for index, name in enumerate(names):
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            (path / name).mkdir(exist_ok=True)
        else:
            (path / name).write_bytes(png(index))
    return path


@pytest.fixture(params=[make_folder, make_zip])
def read(request, tmp_path):
    """read(names) loads a folder or zip with these images."""
    return lambda names: load(str(request.param(tmp_path / "pets", names)), tmp_path / "root")


def classes(*folders: str, count: int = 2) -> list[str]:
    """Images of cats and dogs inside each of the folders."""
    return [f"{f}/{c}/{i}.png" for f in folders for c in ("cat", "dog") for i in range(count)]


def loose(*folders: str) -> list[str]:
    """Images directly inside each of the folders."""
    return [f"{f}/{i}.png" for f in folders for i in range(3)]


def counts_of(names: list[str], folders: list[str] | None = None) -> list[tuple[str, int, int]]:
    plan = layout.plan(names, folders or [], "pets")
    return [
        (name, *(sum(label == index for _, label in part) for part in (plan.train, plan.test)))
        for index, name in enumerate(plan.classes)
    ]


PAIRS = [
    ("Train", "Test"),
    ("Training", "Testing"),
    ("TRAIN", "TEST"),
    ("train", "valid"),
    ("train", "eval"),
    ("train", "Evaluation"),
    ("train", "dev"),
    ("train_images", "test_images"),
    ("imgs_train", "imgs_test"),
    ("TrainImages", "TestImages"),
    ("trainset", "testset"),
    ("training_set", "test_set"),
    ("training-set", "test-set"),
    ("Training Data", "Validation Data"),
    ("train2017", "val2017"),
    ("train_64x64", "test_64x64"),
    ("cifar10_train", "cifar10_test"),
    ("ILSVRC2012_img_train", "ILSVRC2012_img_val"),
    ("seg_train/seg_train", "seg_test/seg_test"),
    ("train/train", "test/test"),
    ("train/images", "test/images"),
    ("trainval", "test"),
    ("pets_train", "test"),  # the other name is clear
]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_customary_names_are_splits(first, second):
    """Also inside wrapper folders, and next to files and folders that are no splits."""
    for top in ("", "wrapper/", "a/b/"):
        for extras in ([], loose("pred", "extras"), ["sample.png"], ["labels.csv"]):
            names = classes(f"{top}{first}", count=3) + classes(f"{top}{second}")
            names += [top + name for name in extras]
            assert counts_of(names) == [("cat", 3, 2), ("dog", 3, 2)], names


@pytest.mark.parametrize("top", ["", "wrapper/"])
@pytest.mark.parametrize(
    ("first", "second"),
    [("Train", "Test"), ("training_set", "test-set"), ("seg_train/seg_train", "seg_test/seg_test")],
)
def test_they_are_loaded_from_folders_and_zips(read, first, second, top):
    names = classes(f"{top}{first}", count=3) + classes(f"{top}{second}")
    data = read([*names, f"{top}seg_pred/seg_pred/1.png"])
    assert data.class_counts() == [("cat", 3, 2), ("dog", 3, 2)]
    shades = [*range(6)], [*range(6, 10)]
    found = [part[:, 0, 0, 0].tolist() for part in (data.train_images, data.test_images)]
    assert tuple(found) == shades


def test_test_images_are_measured_on_before_validation_images():
    names = classes("Train", count=4) + classes("Val", count=3) + classes("Test")
    assert counts_of(names) == [("cat", 4, 2), ("dog", 4, 2)]
    assert counts_of(names + classes("hard_Test", count=9)) == counts_of(names), "a clear name"


@pytest.mark.parametrize("test", [loose("test"), ["test/test/1.png"], loose("test/images")])
def test_without_labels_test_images_leave_it_to_validation(read, test):
    data = read(classes("train", count=4) + classes("val") + test)
    assert data.class_counts() == [("cat", 4, 2), ("dog", 4, 2)]


EXTRAS = [loose("test"), loose("test", "unlabeled"), loose("unlabeled"), loose("pred")]


@pytest.mark.parametrize("extras", [[], ["notes/readme.txt"], *EXTRAS])
@pytest.mark.parametrize("top", ["", "wrapper/"])
def test_a_fifth_is_set_aside_where_only_training_images_have_labels(read, top, extras):
    data = read([top + name for name in classes("Train", count=10) + extras])
    assert data.class_counts() == [("cat", 8, 2), ("dog", 8, 2)]


def test_the_counterpart_of_a_qualified_name_may_be_unlabelled():
    names = classes("alphabet_train/alphabet_train", count=10)
    names += loose("alphabet_test/alphabet_test")
    assert counts_of(names) == [("cat", 8, 2), ("dog", 8, 2)]


CLASSES = {
    "a train is a vehicle": loose("bus", "train", "plane"),
    "a train with one folder inside": ["bus/1.png", "bus/2.png", *loose("train/images")],
    "valid and its opposite": loose("valid", "invalid"),
    "longer words": loose("trainer", "contest", "evaluator", "validity"),
    "qualified names without a counterpart": loose("rainbow_train", "cat", "dog"),
    "qualified names of one kind": loose("blood_test", "skin_test"),
    "several kinds in a name": loose("train_test", "cat"),
    "pieces without classes": loose("part1", "part2"),
    "the same folders in each": [f"{c}/{s}/{i}.png" for c in "ab" for s in "cd" for i in range(3)],
}


@pytest.mark.parametrize("names", CLASSES.values(), ids=CLASSES)
@pytest.mark.parametrize("top", ["", "wrapper/"])
def test_ordinary_names_are_classes(names, top):
    expected = sorted({name.split("/")[0] for name in names})
    assert [name for name, *_ in counts_of([top + name for name in names])] == expected


def test_within_splits_any_name_is_a_class():
    names = [
        f"{s}/{c}/{i}.png" for s in ("Train", "Test") for c in ("bus", "train") for i in (1, 2)
    ]
    assert counts_of(names) == [("bus", 2, 2), ("train", 2, 2)]
    names = [name.replace("bus", "test") for name in names]
    assert counts_of(names) == [("test", 2, 2), ("train", 2, 2)]


REFUSED = {
    "loose images": (loose("Train", "Test"), ["'Test', 'Train'", "no training folder"]),
    "loose images, qualified": (loose("seg_train", "seg_test"), ["'seg_test', 'seg_train'"]),
    "classes in the names": (loose("train_cat", "train_dog", "test_cat"), ["'train_cat'"]),
    "two training folders": (classes("train", "Training", "test"), ["'Training', 'train'", "keep"]),
    "two test folders": (classes("train", "test", "test_images"), ["'test', 'test_images'"]),
    "two validation folders": (classes("train", "val", "valid"), ["'val', 'valid'"]),
    "only labelled test images": (classes("test") + loose("train"), ["'test', 'train'"]),
    "no training images": (classes("test", "val"), ["'test', 'val'"]),
    "a test folder beside classes": (loose("cat", "dog", "test"), ["'test'", "'cat', 'dog'"]),
    "unlabelled images beside classes": (loose("cat", "unlabeled"), ["'unlabeled'", "'cat'"]),
    "a train and a test": (loose("bus", "train", "test"), ["'test', 'train'", "'bus'"]),
    "a train with folders": (classes("train") + loose("bus"), ["'train'", "'bus'", "rename"]),
    "training images and an unknown name": (classes("train", "prueba"), ["'train'", "'prueba'"]),
    "an unknown name and test images": (classes("learn", "test"), ["'test'", "'learn'"]),
    "only loose training images": (loose("train"), ["'train'", "no training folder"]),
    "splits of each class": (
        [f"{c}/{s}/{i}.png" for c in ("cat", "dog") for s in ("train", "test") for i in (1, 2)],
        ["'test', 'train'", "inside 'cat'"],
    ),
    "splits inside training images": (
        classes("train/train", "train/val") + loose("test"),
        ["'val'"],
    ),
    "splits beside other images": (classes("pets/Train", "pets/Test") + loose("more"), ["'pets'"]),
    "pieces": (classes("fold1", "fold2", "fold3"), ["'fold1', 'fold2', 'fold3'", "merge"]),
}


@pytest.mark.parametrize(("names", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_ambiguous_is_refused(read, names, words):
    with pytest.raises(DataError) as error:
        read(names)
    text = str(error.value)
    assert "\n" not in text and text.startswith("pets")
    for word in words:
        assert word in text
    assert layout.EXPECTED in text or "several folders" in text


KINDS = {
    splits.TRAIN: ["TRAIN", "Ｔｒａｉｎ", "train_val"],
    splits.TEST: ["imgtest"],
    splits.VAL: ["Validation Set (1)"],
    splits.UNLABELED: ["train_unlabeled"],
    None: ["train_test", "latest", "retrain", ""],
}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in KINDS.items() for n in names])
def test_names_are_read_word_by_word(kind, name):
    found = splits.parse(name)
    assert (found and found.kind) == kind


def test_a_reading_by_earlier_rules_is_not_taken_from_the_cache(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "pets", classes("Train", "Test"))
    with monkeypatch.context() as earlier:
        earlier.setattr(layout, "VERSION", layout.VERSION - 1)
        as_classes = layout.Layout(("Test", "Train"), [("Test/cat/0.png", 0)], [])
        earlier.setattr(layout, "plan", lambda files, folders, label: as_classes)
        assert load(str(path), tmp_path / "root").classes == ("Test", "Train")
    assert load(str(path), tmp_path / "root").classes == ("cat", "dog")


def test_deep_names_in_a_zip_are_read_in_little_time_and_memory():
    deep = "seg_train/" * 5_000
    names = [f"{deep}{c}/{i}.png" for c in ("cat", "dog") for i in range(5)]
    assert counts_of(names) == [("cat", 4, 1), ("dog", 4, 1)]


@pytest.fixture
def own(tmp_path) -> Path:
    """Eleven classes in splits that are not called train and test."""
    names = [f"Training/class{c:02}/{i}.png" for c in range(11) for i in range(3)]
    names += [f"Testing/class{c:02}/{i}.png" for c in range(11) for i in range(2)]
    return make_folder(tmp_path / "own", names)


def train_on(path: Path, tmp_path: Path) -> int:
    words = "--limit 16 -b 16 -e 1 --arch resnet10 --width 0.0625 --precision fp32 --device cpu"
    roots = ["--data-root", str(tmp_path / "data"), "--run-root", str(tmp_path / "runs")]
    return train.main([*words.split(), "--dataset", str(path), "--name", "a", *roots])


def test_the_terminal_shows_classes_and_counts_before_training(own, tmp_path, capsys, one_thread):
    assert train_on(own, tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    training = next(i for i, line in enumerate(lines) if line.startswith("training images: 33 in"))
    assert "11 classes: 'class00' 3, 'class01' 3," in lines[training]
    assert lines[training].endswith("'class09' 3 and 1 more class")
    assert lines[training + 1].startswith("test images: 22 in 11 classes: 'class00' 2,")
    assert training < next(i for i, line in enumerate(lines) if line.startswith("epoch 1/1"))


def test_the_terminal_refuses_what_is_ambiguous_and_makes_no_run(tmp_path, capsys):
    path = make_folder(tmp_path / "own", loose("Train", "Test"))
    assert train_on(path, tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'Test', 'Train'" in line and layout.EXPECTED in line
    assert not (tmp_path / "runs" / "a").exists()


def test_the_names_of_classes_cannot_act_on_the_terminal(tmp_path):
    names = [f"{s}/{c}/1.png" for s in ("Train", "Test") for c in ("\x1b[2Jcat", "dog\nold")]
    data = load(str(make_zip(tmp_path / "own", names)), tmp_path / "root")
    assert all(line.isprintable() for line in data.describe_splits())


def open_own(app, path: Path):
    at = app(PAGE)
    at.session_state["dataset"] = "own"
    at.session_state["dataset_path"] = str(path)
    return at.run()


def test_the_train_page_shows_classes_and_counts_before_the_start(app, own):
    at = open_own(app, own)
    assert not at.exception and not at.error
    line = "**11 classes**: 33 training images, 22 test images"
    assert line in [text.value for text in at.markdown]
    table = at.dataframe[0].value
    assert list(table.columns) == ["Class", "Training images", "Test images"]
    assert table.iloc[0].tolist() == ["class00", 3, 2] and len(table) == 11
    assert not at.button(key="start").disabled


def test_the_train_page_shows_no_table_of_the_built_in_sets(app):
    assert not app(PAGE).dataframe


def test_the_train_page_refuses_what_is_ambiguous(app, tmp_path):
    at = open_own(app, make_folder(tmp_path / "own", loose("Train", "Test")))
    assert not at.exception and not at.dataframe
    assert "named like splits" in at.error[0].value
    assert at.button(key="start").disabled and not runs.list_runs(folders.RUN_ROOT)


def test_the_train_page_shows_any_name_of_a_class(app, tmp_path):
    names = [f"{s}/{c}/1.png" for s in ("Train", "Test") for c in ("a\tb", "\udcff", "x" * 200)]
    at = open_own(app, make_folder(tmp_path / "own", names))
    assert not at.exception
    (table,) = [frame.value for frame in at.dataframe]
    assert all(name.isprintable() and len(name) <= 80 for name in table["Class"])
