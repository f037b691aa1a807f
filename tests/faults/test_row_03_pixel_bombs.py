"""Row 3 of docs/FAULTS.md: a small file of very many pixels."""

import struct
import zlib

import pytest
from PIL import Image

from engine.errors import DataError
from engine.predict import decode_image


def one_bit_png(side):
    """A whole 1-bit image; its zeros pack to a thousandth."""

    def chunk(kind, body):
        check = zlib.crc32(kind + body)
        return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", check)

    packer = zlib.compressobj(9)
    row = bytes(side // 8 + 2)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">LLBBBBB", side, side, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.fixture(scope="module")
def bomb():
    return one_bit_png(13_300)


def test_it_is_refused_before_decoding_and_without_a_warning(bomb, monkeypatch, recwarn):
    assert len(bomb) < 30_000

    def decoded(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr(Image.Image, "convert", decoded)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", decoded)
    with pytest.raises(DataError, match="13300×13300 pixels, more than 50 megapixels"):
        decode_image(bomb)
    assert not recwarn.list


def test_the_page_names_it_and_goes_on(upload, shown, bomb, picture):
    app = upload(("bomb.png", bomb), ("good.png", picture()))
    (error,) = app.error
    assert "bomb.png" in error.value and "megapixels" in error.value
    assert "good.png" in shown(app)
