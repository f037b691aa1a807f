"""Own images: checked like a path, kept whole or not at all, listed, renamed, deleted."""

import io
import zipfile

import pytest
from PIL import Image

from engine import data
from engine.data import own
from engine.errors import Cancelled, ConfigError, DataError


def png(value, size=(40, 40)):
    file = io.BytesIO()
    Image.new("RGB", size, (value, 255 - value, value // 2)).save(file, "PNG")
    return file.getvalue()


def pictures(count, first):
    return [(f"IMG {first + i}.png", png(first + i)) for i in range(count)]


def zipped(entries):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return file.getvalue()


TWO = {"cat": pictures(5, 10), "a dog": pictures(5, 100)}


def test_kept_images_are_read_as_they_were_checked(tmp_path):
    """The same classes, split and order, hence the same fingerprint as the import of the upload."""
    entries = {f"pets/{c}/{i}.png": png(40 * i + n) for n, c in enumerate("xy") for i in range(5)}
    (tmp_path / "pets.zip").write_bytes(zipped({**entries, "pets/note.txt": b"-"}))
    by_path = data.load(str(tmp_path / "pets.zip"), tmp_path)
    checked = own.check(own.open_zip((tmp_path / "pets.zip").read_bytes(), "pets.zip"), "pets.zip")
    place = own.keep(checked, tmp_path, "pets")
    kept = data.load(str(place), tmp_path)
    assert kept.classes == by_path.classes == checked.data.classes
    assert kept.fingerprint == by_path.fingerprint
    assert any("note.txt" in line for line in checked.data.notes)
    assert data.name_of(str(place)) == "pets" and own.list_sets(tmp_path) == [place]


def test_pictures_of_classes_are_kept_and_what_cannot_be_used_is_left_out_with_the_reason(tmp_path):
    hostile = [
        ("../../escape.png", png(3)),
        ("notes.txt", b"words"),
        ("._IMG.png", png(4)),
        ("half.jpg", png(5)[:60]),
        ("x conflict 20201010 1234.png", png(6)),
    ]
    checked = own.check(own.open_files({**TWO, "cat": TWO["cat"] + hostile}), "mine")
    (bad,) = checked.bad
    assert "half.jpg" in bad
    told = "\n".join((*checked.data.warnings, *checked.data.notes))
    assert "half.jpg" in told and "notes.txt" in told and "._IMG" in told
    assert "fewer than 20 training images of class 'a dog', 'cat'" in told
    place = own.keep(checked, tmp_path, "mine")
    assert not list(tmp_path.rglob("escape.png")) and not (tmp_path / "escape.png").exists()
    found = data.load(str(place), tmp_path)
    assert found.class_counts() == [("a dog", 4, 1), ("cat", 6, 1)] == checked.data.class_counts()


def test_an_unbalanced_set_is_told():
    checked = own.check(own.open_files({"a": pictures(40, 0), "b": pictures(8, 100)}), "mine")
    assert any("32 training images of class 'a', but 6 of 'b'" in w for w in checked.data.warnings)


def test_a_class_without_a_usable_image_is_refused_with_the_reason():
    with pytest.raises(DataError, match=r"b/001 x.png: not a PNG"):
        own.check(own.open_files({**TWO, "b": [("x.png", b"no"), ("y.png", b"no")]}), "mine")


@pytest.mark.parametrize(
    "name", ["", " a", "a.", "a/b", "..", "a\\b", "a:b", "nul", "a\nb", ".a", "x" * 61, "a\u202eb"]
)
def test_names_of_classes_that_cannot_be_folders_are_refused(name):
    with pytest.raises(DataError, match="class"):
        own.open_files({name: [], "b": []})


def test_uploads_above_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(own, "MAX_BYTES", 2**20)
    with pytest.raises(DataError, match="2 MB of images, more than 1 MB: put them into a folder"):
        own.open_zip(bytes(2**21), "a.zip")
    with pytest.raises(DataError, match="2 MB of images, more than 1 MB"):
        own.open_files({"a": [("x.png", bytes(2**20))], "b": [("x.png", bytes(2**20))]})


def test_sets_are_renamed_and_deleted_and_names_are_used_once(tmp_path):
    checked = own.check(own.open_files(TWO), "mine")
    first = own.keep(checked, tmp_path, "first")
    with pytest.raises(DataError, match="already exists"):
        own.keep(checked, tmp_path, "First")
    own.keep(checked, tmp_path, "second")
    with pytest.raises(DataError, match="already exists"):
        own.rename(first, "second")
    with pytest.raises(ConfigError, match="no spaces"):
        own.rename(first, "a b")
    first = own.rename(first, "First")
    assert [path.name for path in own.list_sets(tmp_path)] == ["First", "second"]
    own.delete(first)
    assert [path.name for path in own.list_sets(tmp_path)] == ["second"]
    with pytest.raises(ConfigError):
        own.keep(checked, tmp_path, "../out")


def test_no_decoded_images_of_a_deleted_or_renamed_set_are_left(tmp_path):
    kept = own.keep(own.check(own.open_files(TWO), "mine"), tmp_path, "pupils")
    decoded = lambda: len(list((tmp_path / "cache").glob("*.safetensors")))  # noqa: E731
    data.load(str(kept), tmp_path)
    assert decoded() == 1
    kept = own.rename(kept, "class-7b")
    assert decoded() == 0
    data.load(str(kept), tmp_path)
    own.delete(kept)
    assert decoded() == 0


def test_a_cancelled_keep_and_a_full_disk_leave_nothing(tmp_path, monkeypatch):
    checked = own.check(own.open_files(TWO), "mine")
    with pytest.raises(Cancelled):
        own.keep(checked, tmp_path, "mine", cancelled=lambda: True)
    with pytest.raises(Cancelled):
        own.check(own.open_files(TWO), "mine", cancelled=lambda: True)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(own.files, "replace", full)
    with pytest.raises(DataError, match="free some space"):
        own.keep(checked, tmp_path, "mine")
    left = [path.name for path in (tmp_path / "own").iterdir()]
    assert left in ([], [".names.lock"])
