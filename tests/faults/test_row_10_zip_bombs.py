"""Row 10 of docs/FAULTS.md: zip bombs by ratio, total, count, nesting and shared offsets."""

import copy
import io
import struct
import zipfile
import zlib

import pytest
from PIL import Image

from engine.data import images, load, zips
from engine.errors import DataError


def png(size=(32, 32)):
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


GOOD = {f"{split}/{name}/1.png": png() for split in ("train", "test") for name in ("cat", "dog")}


def make_zip(path, extra=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (GOOD | (extra or {})).items():
            archive.writestr(name, content)
    return path


def refused(path, tmp_path, match):
    with pytest.raises(DataError, match=match):
        load(str(path), tmp_path / "root")
    assert not list((tmp_path / "root").rglob("*.safetensors*"))


def test_the_limits_let_a_good_zip_through(tmp_path):
    assert len(load(str(make_zip(tmp_path / "a.zip")), tmp_path / "root").train_labels) == 2


def test_ratio(tmp_path):
    """70 MB of zeros in 70 KB, before any of it is unpacked."""
    path = make_zip(tmp_path / "a.zip", {"train/cat/2.bmp": bytes(70 * 2**20)})
    assert path.stat().st_size < 100_000
    refused(path, tmp_path, "times its size")


def test_total_as_announced(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MAX_TOTAL_BYTES", sum(map(len, GOOD.values())) - 1)
    refused(make_zip(tmp_path / "a.zip"), tmp_path, "limit")


def test_total_as_unpacked_when_the_headers_lie(tmp_path, monkeypatch):
    """The limit, lowered after the announced sizes have passed, holds for the bytes read."""
    with zips.ZipImages(make_zip(tmp_path / "a.zip")) as archive:
        monkeypatch.setattr(zips, "MAX_TOTAL_BYTES", len(png()) + 1)
        first, second, *_ = archive.files
        assert archive.read(first) == GOOD[first]
        with pytest.raises(DataError, match=r"entry .* total"):
            archive.read(second)


def test_one_entry(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MAX_IMAGE_BYTES", 1000)
    path = make_zip(tmp_path / "a.zip", {"train/cat/2.bmp": bytes(1001)})
    refused(path, tmp_path, r"train/cat/2\.bmp.*unpacks to more")


def test_an_entry_larger_than_its_header_says_is_not_unpacked_beyond_it(tmp_path):
    """10 MB behind a header that says 100 bytes: damage, found after 100 bytes."""
    path = make_zip(tmp_path / "a.zip", {"train/cat/2.bmp": bytes(10 * 2**20)})
    content = path.read_bytes()
    size = struct.pack("<L", 10 * 2**20)
    assert content.count(size) == 2  # in the entry's own header and in the directory
    path.write_bytes(content.replace(size, struct.pack("<L", 100)))
    refused(path, tmp_path, r"train/cat/2\.bmp: damaged in the zip")


def test_count(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MAX_ENTRIES", 3)
    refused(make_zip(tmp_path / "a.zip"), tmp_path, "4 entries; the limit is 3")


def test_a_huge_directory_is_refused_before_it_is_parsed(tmp_path, monkeypatch):
    monkeypatch.setattr(zips, "MAX_DIRECTORY_BYTES", 70_000)  # above what zipfile reads to find it
    path = make_zip(tmp_path / "a.zip", {f"train/cat/{'x' * 200}{i}.txt": b"" for i in range(400)})
    refused(path, tmp_path, "list of entries")


@pytest.mark.parametrize("name", ["inner.zip", "train/cat/inner.ZIP", "a.tar.gz", "b.7z"])
def test_nesting(tmp_path, name):
    refused(make_zip(tmp_path / "a.zip", {name: b"PK"}), tmp_path, "archive within the archive")


def test_entries_that_share_an_offset(tmp_path):
    """A hundred names for one file's bytes: the directory is edited before it is written."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in GOOD.items():
            archive.writestr(name, content)
        for index in range(100):
            shared = copy.copy(archive.filelist[0])
            shared.filename = f"train/cat/{index + 2}.png"
            archive.filelist.append(shared)
    refused(path, tmp_path, "overlaps")


def test_one_name_twice(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for name, content in [*GOOD.items(), ("train/cat/1.png", png((40, 40)))]:
            archive.writestr(name, content)
    refused(path, tmp_path, r"train/cat/1\.png' is there twice")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_unpack_without_bound_are_refused(tmp_path, method):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in GOOD.items():
            archive.writestr(name, content)
    refused(path, tmp_path, "deflate")


def one_bit_png(side):
    """A tiny file that announces side × side pixels; its single row would do for no decoder."""

    def chunk(kind, body):
        checksum = zlib.crc32(kind + body)
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", checksum)

    header = struct.pack(">LLBBBBB", side, side, 1, 0, 0, 0, 0)
    row = zlib.compress(bytes(side // 8 + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", row) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [7_200, 13_300, 20_000])
@pytest.mark.parametrize("packed", [True, False], ids=["zip", "folder"])
def test_an_image_of_too_many_pixels_is_named_before_it_is_decoded(
    tmp_path, monkeypatch, recwarn, side, packed
):
    def decoded(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "convert", decoded)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decoded)
    with pytest.raises(DataError, match=r"pixel"):
        images.open_rgb(one_bit_png(side))
    assert not recwarn.list
    monkeypatch.undo()

    path = make_zip(tmp_path / "a.zip", {"train/cat/2.png": one_bit_png(side)})
    if not packed:
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "a")
        path = tmp_path / "a"
    refused(path, tmp_path, r"1 of 5 images.*train/cat/2\.png.*pixel")
