"""Row 4 of docs/FAULTS.md: what Pillow itself calls a decompression bomb."""

import struct
import zlib

import pytest
from PIL import Image

from engine.errors import DataError
from engine.predict import decode_image


def announced(side):
    """A PNG whose header promises side × side colour pixels; Pillow reads no further."""
    header = b"IHDR" + struct.pack(">LLBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = struct.pack(">L", 13) + header + struct.pack(">L", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">L", 0) + b"IDAT" + bytes(4)


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_it_is_refused_for_its_pixels(side):
    with pytest.raises(DataError, match="pixels, more than 50 megapixels"):
        decode_image(announced(side))


def test_the_limit_of_pillow_stays_on():
    assert Image.MAX_IMAGE_PIXELS is not None


def test_the_page_names_it(upload):
    (error,) = upload(("bomb.png", announced(20_000))).error
    assert "bomb.png" in error.value and "megapixels" in error.value
    assert "DOS" not in error.value
