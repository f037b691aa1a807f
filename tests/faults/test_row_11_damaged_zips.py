"""Row 11 of docs/FAULTS.md: encrypted, truncated and damaged zips."""

import io
import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from engine.data import load
from engine.errors import DataError


def png():
    file = io.BytesIO()
    Image.effect_noise((32, 32), 50).convert("RGB").save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def good():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for split in ("train", "test"):
            for name in ("cat", "dog"):
                archive.writestr(f"{split}/{name}/1.png", png())
    return file.getvalue()


def refused(content, tmp_path, match):
    path = tmp_path / "pets.zip"
    path.write_bytes(content)
    with pytest.raises(DataError, match=match) as error:
        load(str(path), tmp_path / "root")
    assert str(error.value).startswith("pets.zip: ") and "\n" not in str(error.value)


def test_encrypted(good, tmp_path):
    content = bytearray(good)
    for offset, signature in ((6, b"PK\3\4"), (8, b"PK\1\2")):  # the flags of the first entry
        content[content.index(signature) + offset] |= 1
    refused(content, tmp_path, r"train/cat/1\.png' is encrypted")


def test_bad_crc(good, tmp_path):
    content = bytearray(good)
    content[good.index(b"PK\1\2") + 16] ^= 1  # the checksum of the first entry
    refused(content, tmp_path, r"train/cat/1\.png: damaged in the zip \(Bad CRC")


def test_a_flipped_byte_in_an_image(good, tmp_path):
    content = bytearray(good)
    content[good.index(b"train/dog/1.png") + 500] ^= 255
    refused(content, tmp_path, r"train/dog/1\.png: damaged in the zip")


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_truncated(good, tmp_path, share):
    refused(good[: int(len(good) * share)], tmp_path, "not a complete zip")


@pytest.mark.parametrize("content", [b"hello", b"<html>not found</html>", b"PK\5\6" + bytes(17)])
def test_no_zip_at_all(tmp_path, content):
    refused(content, tmp_path, "not a complete zip")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_gives_the_data_or_one_clear_error(good, tmp_path, data):
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "pets.zip"
    path.write_bytes(content)
    try:
        assert load(str(path), tmp_path / "root").train_images.shape[1:] == (3, 32, 32)
    except DataError as error:
        assert "\n" not in str(error)
