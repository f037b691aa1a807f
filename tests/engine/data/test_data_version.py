"""data.version changes when the images of the user change."""

import os
import zipfile

import pytest

from engine import data


@pytest.fixture
def folder(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "own" / "train" / name).mkdir(parents=True)
        (tmp_path / "own" / "train" / name / "1.png").write_bytes(b"an image")
    return tmp_path / "own"


@pytest.mark.parametrize("dataset", ["shapes", "cifar10", "/not/here", "a\0b", ""])
def test_what_is_built_in_or_absent_has_none(dataset):
    assert data.version(dataset) == ()


def add(folder):
    (folder / "train" / "dog" / "2.png").write_bytes(b"another")


def remove(folder):
    (folder / "train" / "dog" / "1.png").unlink()


def rename(folder):
    (folder / "train" / "dog").rename(folder / "train" / "wolf")


def overwrite(folder):
    (folder / "train" / "dog" / "1.png").write_bytes(b"AN IMAGE")  # of the same size


def enlarge_with_the_same_time(folder):
    path = folder / "train" / "dog" / "1.png"
    about = path.stat()
    path.write_bytes(b"a larger image")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize("change", [add, remove, rename, overwrite, enlarge_with_the_same_time])
def test_a_folder_s_changes_with_any_file_in_it(folder, change):
    for path in folder.rglob("*.png"):
        os.utime(path, ns=(10**18, 10**18))
    before = data.version(str(folder))
    assert before and data.is_watched(before) and data.version(str(folder)) == before
    change(folder)
    assert data.version(str(folder)) != before


def test_a_broken_link_has_no_time_and_no_size(folder):
    (folder / "train" / "cat" / "2.png").symlink_to(folder / "gone.png")
    before = data.version(str(folder))
    assert data.is_watched(before)
    (folder / "gone.png").write_bytes(b"back")
    assert data.version(str(folder)) != before


def test_a_zip_s_changes_with_the_file(tmp_path):
    path = tmp_path / "own.zip"
    versions = []
    for count in (1, 2):
        with zipfile.ZipFile(path, "w") as archive:
            for i in range(count):
                archive.writestr(f"{i}.png", "an image")
        versions.append(data.version(str(path)))
    assert versions[0] and versions[0] != versions[1]
