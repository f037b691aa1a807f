"""Row 44 of docs/FAULTS.md: zip names in UTF-8 without the flag, or in a legacy encoding."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from engine.data import load
from engine.errors import DataError

Entry = tuple[bytes, bytes]  # a name's bytes and its extra field


@pytest.fixture
def make_zip(tmp_path, noisy):
    """make_zip((name, extra), …) writes these entries without the UTF-8 flag, and four others."""

    def write(*entries: Entry, flagged: dict[str, bytes] | None = None) -> Path:
        path = tmp_path / "pets.zip"
        placeholders = {}
        with zipfile.ZipFile(path, "w") as archive:
            for index, name in enumerate(["train/ant/1.png", "test/ant/1.png"]):
                archive.writestr(name, noisy(index))
            for name, content in (flagged or {}).items():
                archive.writestr(name, content)  # zipfile sets the flag where it is needed
            for index, (raw, extra) in enumerate(entries):
                placeholder = f"{index:?>{len(raw)}}".encode()
                placeholders[placeholder] = raw
                info = zipfile.ZipInfo(placeholder.decode())
                info.extra = extra
                archive.writestr(info, noisy(10 + index))
        content = path.read_bytes()
        for placeholder, raw in placeholders.items():
            assert content.count(placeholder) == 2
            content = content.replace(placeholder, raw)
        path.write_bytes(content)
        return path

    return write


def unicode_path(raw: bytes, name: str, version: int = 1, checksum: int | None = None) -> bytes:
    """The extra field 0x7075 of an entry."""
    checksum = zlib.crc32(raw) if checksum is None else checksum
    body = struct.pack("<BL", version, checksum) + name.encode()
    return struct.pack("<HH", 0x7075, len(body)) + body


def both_splits(name: bytes, extra=lambda raw: b"") -> list[Entry]:
    """A class of this name in both splits; extra(raw): the extra field of each entry."""
    raws = [split + name + b"/1.png" for split in (b"train/", b"test/")]
    return [(raw, extra(raw)) for raw in raws]


def as_field(name: str, **options):
    """The extra field that spells the class `name`."""
    return lambda raw: unicode_path(raw, f"{raw.split(b'/')[0].decode()}/{name}/1.png", **options)


NAMES = {
    "UTF-8": (both_splits("été".encode()), "été"),
    "UTF-8 of four bytes": (both_splits("🐈".encode()), "🐈"),
    "UTF-8, Chinese": (both_splits("猫".encode()), "猫"),
    "cp437": (both_splits("été".encode("cp437")), "été"),
    "extra field": (both_splits(b"cat?", as_field("猫")), "猫"),
    "extra field before UTF-8": (both_splits(b"cat", as_field("kitten")), "kitten"),
    "field after others": (
        both_splits("Å".encode("cp437"), lambda raw: b"\x55\x54\1\0\0" + as_field("猫")(raw)),
        "猫",
    ),
    "extra field of another name": (both_splits(b"cat", as_field("dog", checksum=1)), "cat"),
    "extra field of another version": (both_splits(b"cat", as_field("dog", version=2)), "cat"),
}


@pytest.mark.parametrize(("entries", "expected"), NAMES.values(), ids=NAMES)
def test_a_name_is_decoded_as_customary_tools_do(make_zip, tmp_path, entries, expected):
    data = load(str(make_zip(*entries)), tmp_path / "root")
    assert set(data.classes) == {"ant", expected}
    assert data.class_counts() == [(name, 1, 1) for name in data.classes]


def test_a_flagged_name_is_utf8(make_zip, tmp_path, noisy):
    flagged = {"train/猫/1.png": noisy(5), "test/猫/1.png": noisy(6)}
    assert load(str(make_zip(flagged=flagged)), tmp_path / "root").classes == ("ant", "猫")


def test_a_legacy_encoding_that_cannot_be_known_is_told(make_zip, tmp_path):
    data = load(str(make_zip(*both_splits("кот".encode("cp866")))), tmp_path / "root")
    (note,) = data.notes
    assert "legacy encoding, read as cp437 (2)" in note and "UTF-8" in note
    assert load(str(make_zip(*both_splits("été".encode()))), tmp_path / "root").notes == ()


def test_names_that_become_the_same_are_refused(make_zip, tmp_path, noisy):
    flagged = {"train/é/1.png": noisy(5)}
    for raw in ("é".encode(), "é".encode("cp437")):
        path = make_zip((b"train/" + raw + b"/1.png", b""), flagged=flagged)
        with pytest.raises(DataError, match=r"'train/é/1\.png' is there twice"):
            load(str(path), tmp_path / "root")


def test_paths_with_empty_components_are_the_same_path(make_zip, tmp_path):
    data = load(str(make_zip(*both_splits(b"./cat"))), tmp_path / "root")
    assert data.classes == ("ant", "cat")
    path = make_zip((b"train/cat/1.png", b""), (b"./train//cat/1.png", b""))
    with pytest.raises(DataError, match="is there twice"):
        load(str(path), tmp_path / "root")


def test_one_class_in_two_encodings_is_one_class(make_zip, tmp_path, noisy):
    flagged = {"train/é/1.png": noisy(5), "test/é/1.png": noisy(6)}
    path = make_zip((b"train/\x82/2.png", b""), flagged=flagged)
    assert load(str(path), tmp_path / "root").class_counts() == [("ant", 1, 1), ("é", 2, 1)]


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "C:/evil.png", "a\\evil.png"])
def test_the_decoded_name_is_checked_too(make_zip, tmp_path, name):
    raw = b"train/ant/2.png"
    with pytest.raises(DataError, match=r"evil\.png"):
        load(str(make_zip((raw, unicode_path(raw, name)))), tmp_path / "root")


def test_a_backslash_among_the_bytes_of_a_character_is_none(make_zip, tmp_path):
    """The second byte of some characters in Shift-JIS, as in ソ."""
    raws = [f"{split}/ソ/1.png".encode("shift_jis") for split in ("train", "test")]
    assert all(b"\\" in raw for raw in raws)
    splits = zip(raws, ("train", "test"), strict=True)
    entries = [(raw, unicode_path(raw, f"{split}/ソ/1.png")) for raw, split in splits]
    assert load(str(make_zip(*entries)), tmp_path / "root").classes == ("ant", "ソ")
    with pytest.raises(DataError, match="is not a plain relative path"):
        load(str(make_zip(*((raw, b"") for raw in raws))), tmp_path / "root")


@pytest.mark.parametrize("extra", [b"\x75\x70\x02\x00ab", b"\x75\x70\x00\x00", b"\1"])
def test_a_damaged_field_is_left_alone(make_zip, tmp_path, extra):
    path = make_zip(*both_splits(b"cat", lambda raw: extra))
    assert load(str(path), tmp_path / "root").classes == ("ant", "cat")


def test_a_flagged_name_that_is_no_utf8_is_told(make_zip, tmp_path, noisy):
    path = make_zip(flagged={"train/é/1.png": noisy(5)})
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xfe"))
    with pytest.raises(DataError, match="marked as UTF-8"):
        load(str(path), tmp_path / "root")
