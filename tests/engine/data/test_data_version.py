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


def test_a_folder_s_changes_with_any_folder_in_it(folder):
    before = data.version(str(folder))
    assert before and data.version(str(folder)) == before
    os.utime(folder / "train" / "dog", ns=(1, 1))  # as adding or removing a file does
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
