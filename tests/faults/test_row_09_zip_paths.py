"""Row 9 of docs/FAULTS.md: zip entries `../`, absolute, `C:\\`, links."""

import io
import stat
import zipfile

import pytest
from PIL import Image

from engine.data import load
from engine.errors import DataError


def png():
    file = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(file, "PNG")
    return file.getvalue()


def make_zip(path, extra):
    """A good data set and one more entry, `extra`: a ZipInfo with its content."""
    with zipfile.ZipFile(path, "w") as archive:
        for split in ("train", "test"):
            for name in ("cat", "dog"):
                archive.writestr(f"{split}/{name}/1.png", png())
        archive.writestr(*extra)
    return path


def raw_name(name):
    """An entry whose name reaches the file as it is, on every platform."""
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    return info


def listing(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png",
        "train/../../evil.png",
        "train/cat/..",
        "..",
        "/evil.png",
        "//server/share/evil.png",
        "C:/evil.png",
        "C:evil.png",
        "C:\\evil.png",
        "train\\cat\\2.png",
        "..\\evil.png",
        "__MACOSX/../../evil.png",
        ".hidden/../../evil.png",
    ],
)
def test_a_name_that_leaves_the_archive_is_refused_and_named(tmp_path, name):
    box = tmp_path / "box"
    box.mkdir()
    path = make_zip(box / "pets.zip", (raw_name(name), png()))
    with pytest.raises(DataError) as error:
        load(str(path), box / "root")
    assert repr(name) in str(error.value)
    left = [name for name in listing(tmp_path) if not name.endswith("import.lock")]
    assert [name.replace("\\", "/") for name in left] == [
        "box",
        "box/pets.zip",
        "box/root",
        "box/root/cache",
    ]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused_and_named(tmp_path, kind):
    info = zipfile.ZipInfo("train/cat/2.png")
    info.create_system = 3
    info.external_attr = (kind | 0o777) << 16
    path = make_zip(tmp_path / "pets.zip", (info, "../../../etc/passwd"))
    with pytest.raises(DataError, match=r"train/cat/2\.png.*link"):
        load(str(path), tmp_path / "root")
    assert not list(tmp_path.rglob("*.png"))


def test_a_good_zip_is_read_without_being_unpacked(tmp_path):
    path = make_zip(tmp_path / "pets.zip", (zipfile.ZipInfo("train/cat/a..b.png"), png()))
    assert len(load(str(path), tmp_path / "root").train_labels) == 3
    assert not list(tmp_path.rglob("*.png"))
