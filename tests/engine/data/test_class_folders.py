"""Class folders and zips: layouts, classes, cache, progress and errors."""

import io
import os
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from engine.data import images, is_available, listing, load, shapes
from engine.errors import Cancelled, DataError


def png(value):
    """A 32×32 image of one gray value, which identifies it."""
    file = io.BytesIO()
    Image.fromarray(np.full((32, 32, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


SPLIT = {
    "train/cat/1.png": png(1),
    "train/cat/2.png": png(2),
    "train/dog/1.png": png(3),
    "test/cat/9.png": png(4),
    "test/dog/9.png": png(5),
}


def make_folder(path, entries):
    for name, content in entries.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def make_zip(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.fixture(params=["folder", "zip"])
def make(request, tmp_path):
    """make(entries) writes a folder or a zip and returns its path."""
    if request.param == "folder":
        return lambda entries: make_folder(tmp_path / "pets", entries)
    return lambda entries: make_zip(tmp_path / "pets.zip", entries)


def values(images):
    return images[:, 0, 0, 0].tolist()


def test_train_and_test_folders(make, tmp_path):
    data = load(str(make(SPLIT)), tmp_path / "root")
    assert data.name == "pets" and data.classes == ("cat", "dog")
    assert values(data.train_images) == [1, 2, 3] and data.train_labels.tolist() == [0, 0, 1]
    assert values(data.test_images) == [4, 5] and data.test_labels.tolist() == [0, 1]
    assert data.train_images.dtype == torch.uint8 and data.train_labels.dtype == torch.int64
    grays = np.array([1, 2, 3]) / 255
    assert data.mean == pytest.approx([grays.mean()] * 3)
    assert data.std == pytest.approx([1 / 255] * 3)  # MIN_STD


@pytest.mark.parametrize("top", ["", "pets/", "a/b/"])
@pytest.mark.parametrize("test", ["test", "val", "valid", "validation"])
def test_other_names_of_the_test_split_and_common_top_folders(make, tmp_path, top, test):
    entries = {top + name.replace("test/", f"{test}/"): content for name, content in SPLIT.items()}
    data = load(str(make(entries)), tmp_path / "root")
    assert data.classes == ("cat", "dog") and values(data.test_images) == [4, 5]


def test_beside_test_val_does_not_count(make, tmp_path):
    data = load(str(make(SPLIT | {"val/cat/1.png": png(7)})), tmp_path / "root")
    assert values(data.test_images) == [4, 5]


@pytest.mark.parametrize("top", ["", "pets/", "train/"])
def test_without_a_split_a_fifth_of_each_class_is_set_aside(make, tmp_path, top):
    entries = {f"{top}ant/{i}.png": png(i) for i in range(20)}
    entries |= {f"{top}bee/{i}.png": png(100 + i) for i in range(10)}
    path = str(make(entries))
    data = load(path, tmp_path / "root")
    assert data.classes == ("ant", "bee")
    assert data.test_labels.bincount().tolist() == [4, 2]
    assert data.train_labels.bincount().tolist() == [16, 8]
    every = values(data.train_images) + values(data.test_images)
    assert sorted(every) == [*range(20), *range(100, 110)]
    again = load(path, tmp_path / "other root")
    assert torch.equal(data.test_images, again.test_images)


def test_a_folder_and_a_zip_of_it_split_alike(tmp_path):
    entries = {f"{name}/{i}.png": png(i) for name in ("ant", "bee") for i in range(10)}
    first = load(str(make_folder(tmp_path / "x", entries)), tmp_path / "root")
    second = load(str(make_zip(tmp_path / "x.zip", entries)), tmp_path / "root")
    assert torch.equal(first.test_images, second.test_images)


def test_system_files_and_notes_are_ignored(make, tmp_path):
    ignored = {
        "__MACOSX/train/cat/._1.png": b"x",
        "train/.DS_Store": b"x",
        "train/cat/.DS_Store": b"x",
        "train/cat/._1.png": b"x",
        "train/cat/Thumbs.db": b"x",
        "train/dog/desktop.ini": b"x",
        ".hidden/1.png": b"x",
        "README.md": b"x",
        "LICENSE": b"x",
        "train/cat/boxes.txt": b"x",
    }
    data = load(str(make(SPLIT | ignored)), tmp_path / "root")
    assert data.classes == ("cat", "dog") and values(data.train_images) == [1, 2, 3]


def test_images_may_lie_deeper_in_their_class(make, tmp_path):
    entries = {name.replace("/cat/", "/cat/images/"): content for name, content in SPLIT.items()}
    data = load(str(make(entries)), tmp_path / "root")
    assert data.classes == ("cat", "dog") and values(data.train_images) == [1, 2, 3]


def test_a_picture_of_an_unsupported_format_is_named_not_skipped(make, tmp_path):
    with pytest.raises(DataError, match=r"train/dog/2\.gif"):
        load(str(make(SPLIT | {"train/dog/2.gif": b"GIF89a"})), tmp_path / "root")


@pytest.mark.parametrize("entries", [{"README.md": b"x"}, {"1.png": png(1), "2.png": png(2)}])
def test_a_folder_without_classes_says_what_is_expected(make, tmp_path, entries):
    with pytest.raises(DataError, match="<class>/<image>"):
        load(str(make(entries)), tmp_path / "root")


def test_the_second_load_reads_the_cache(make, tmp_path, monkeypatch):
    path = str(make(SPLIT))
    first = load(path, tmp_path / "root")
    monkeypatch.setattr(images, "open_rgb", None)  # decoding again would fail
    again = load(path, tmp_path / "root")
    assert torch.equal(first.train_images, again.train_images)
    assert torch.equal(first.test_labels, again.test_labels)
    assert (first.classes, first.mean, first.std) == (again.classes, again.mean, again.std)


def test_a_change_is_seen(make, tmp_path):
    load(str(make(SPLIT)), tmp_path / "root")
    data = load(str(make(SPLIT | {"train/dog/2.png": png(77)})), tmp_path / "root")
    assert 77 in values(data.train_images)


def test_an_edited_image_of_the_same_size_is_seen(tmp_path):
    path = make_folder(tmp_path / "pets", SPLIT)
    load(str(path), tmp_path / "root")
    image = path / "train/cat/1.png"
    about, length = image.stat(), image.stat().st_size
    value = next(v for v in range(10, 256) if len(png(v)) == length)
    image.write_bytes(png(value))
    os.utime(image, ns=(about.st_atime_ns, about.st_mtime_ns + 10**9))
    assert values(load(str(path), tmp_path / "root").train_images) == [value, 2, 3]


def test_a_renamed_zip_keeps_its_cache_and_gets_its_new_name(tmp_path, monkeypatch):
    path = make_zip(tmp_path / "pets.zip", SPLIT)
    load(str(path), tmp_path / "root")
    monkeypatch.setattr(images, "open_rgb", None)
    data = load(str(path.rename(tmp_path / "animals.zip")), tmp_path / "root")
    assert data.name == "animals"


def test_folders_that_differ_in_place_alone_do_not_share_a_cache(tmp_path):
    for name, value in (("a", 10), ("b", 20)):
        entries = {file: png(value) for file in SPLIT}
        for file in make_folder(tmp_path / name, entries).rglob("*.png"):
            os.utime(file, ns=(0, 0))
    first, second = (load(str(tmp_path / name), tmp_path / "root") for name in "ab")
    assert (values(first.test_images), values(second.test_images)) == ([10, 10], [20, 20])


def test_a_folder_that_links_to_itself_ends(tmp_path):
    path = make_folder(tmp_path / "pets", SPLIT)
    try:
        (path / "train/cat/loop").symlink_to(path, target_is_directory=True)
    except OSError:
        pytest.skip("this system does not let a test make links")
    assert len(load(str(path), tmp_path / "root").train_labels) == 3


def test_too_many_files_is_taken_for_the_wrong_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(listing, "MAX_ENTRIES", 4)
    with pytest.raises(DataError, match="more than 4 files"):
        load(str(make_folder(tmp_path / "pets", SPLIT)), tmp_path / "root")


def test_progress_reaches_the_end_and_is_paced(make, tmp_path):
    entries = {f"{name}/{i}.png": png(i) for name in ("ant", "bee") for i in range(200)}
    seen = []
    load(str(make(entries)), tmp_path / "root", progress=seen.append)
    decoding = [p for p in seen if p.message.startswith("importing")]
    assert decoding[0].done == 0 and decoding[-1].done == decoding[-1].total == 400
    assert decoding[0].unit == "images"
    assert [p.done for p in decoding] == sorted(p.done for p in decoding)
    assert len(decoding) < 100  # 400 images, at most ten reports a second


def test_an_import_can_be_cancelled_and_leaves_nothing(make, tmp_path):
    seen = []
    with pytest.raises(Cancelled):
        load(
            str(make(SPLIT)),
            tmp_path / "root",
            progress=lambda p: seen.append(p.message.split()[0]),
            cancelled=lambda: "importing" in seen,
        )
    assert "importing" in seen
    assert not list((tmp_path / "root").rglob("*.safetensors*"))


@pytest.mark.parametrize(
    "name", ["", " ", "cifar11", "no/such/folder", "nul\0", "x" * 5000, "~nobody-here/x"]
)
def test_an_unknown_name_lists_what_is_known(name, tmp_path):
    with pytest.raises(DataError, match="cifar10, cifar100, shapes"):
        load(name, tmp_path)
    assert not is_available(name, tmp_path)


def test_one_s_own_path_is_available(make, tmp_path):
    assert is_available(str(make(SPLIT)), tmp_path)


def test_a_folder_called_shapes_does_not_hide_the_built_in_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(tmp_path / "shapes", SPLIT)
    assert is_available("shapes", tmp_path / "root")
    draw = shapes.make
    monkeypatch.setattr(shapes, "make", lambda watch: draw(watch, train=100, test=100))
    assert "star" in load("shapes", tmp_path / "root").classes
    assert load("./shapes", tmp_path / "root").classes == ("cat", "dog")


@pytest.mark.slow
def test_cifar10_as_jpeg_files(real_zip, tmp_path, monkeypatch):
    data = load(str(real_zip), tmp_path)
    assert data.name == real_zip.stem and len(data.classes) == 10
    assert data.classes[0] == "airplane" and data.classes[9] == "truck"
    assert data.train_labels.bincount().tolist() == [5000] * 10
    assert data.test_labels.bincount().tolist() == [1000] * 10
    # Near the published constants of the original; the JPEG files are slightly smoother.
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=0.002)
    assert data.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=0.003)
    with zipfile.ZipFile(real_zip) as archive:
        image = Image.open(io.BytesIO(archive.read("test/ship/0007.jpg"))).convert("RGB")
    ship = data.test_images[data.test_labels == data.classes.index("ship")][7]
    assert np.array_equal(ship.permute(1, 2, 0).numpy(), np.asarray(image))
    monkeypatch.setattr(images, "open_rgb", None)
    assert torch.equal(load(str(real_zip), tmp_path).train_images, data.train_images)
