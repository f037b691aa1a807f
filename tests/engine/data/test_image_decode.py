"""Decoding of image files: pixels, sizes, modes, orientation and errors."""

import io

import numpy as np
import pytest
from PIL import Image

from engine.data import images
from engine.errors import DataError


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(content):
    return images.to_pixels(images.open_rgb(content))


def noise(width, height, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_32x32_image_keeps_its_pixels():
    pixels = noise(32, 32)
    decoded = decode(encoded(Image.fromarray(pixels)))
    assert decoded.shape == (3, 32, 32) and decoded.dtype == np.uint8
    assert np.array_equal(decoded, pixels.transpose(2, 0, 1))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("size", [(1, 1), (31, 33), (200, 64), (2, 60)])
def test_every_format_and_size_becomes_32x32(kind, size):
    content = encoded(Image.new("RGB", size, (200, 30, 60)), kind)
    decoded = decode(content).astype(int)
    assert decoded.shape == (3, 32, 32)
    assert np.abs(decoded - np.array([200, 30, 60])[:, None, None]).max() <= 6


@pytest.mark.parametrize("turned", [False, True])
def test_the_center_of_the_longer_side_is_kept(turned):
    pixels = np.zeros((64, 192, 3), np.uint8)
    pixels[:, 56:136] = 255  # white: the middle third, and the support of the filter around it
    image = Image.fromarray(pixels.swapaxes(0, 1) if turned else pixels)
    assert decode(encoded(image)).min() == 255


def test_shrinking_averages():
    """A fine checkerboard becomes gray; without antialiasing it stays black and white."""
    board = (np.indices((256, 256)).sum(0) % 2 * 255).astype(np.uint8)
    decoded = decode(encoded(Image.fromarray(board)))
    assert np.abs(decoded.astype(int) - 127).max() <= 12


def test_exif_rotation_is_applied():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[:16] = 255  # the upper half is white
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90° clockwise for display
    decoded = decode(encoded(Image.fromarray(pixels), "PNG", exif=exif))
    assert decoded[:, :, 16:].min() == 255 and decoded[:, :, :16].max() == 0


def palette_with_transparency():
    image = Image.new("P", (32, 32), 0)
    image.putpalette([10, 200, 30])
    return encoded(image, transparency=0)


@pytest.mark.parametrize(
    "content",
    [
        encoded(Image.new("RGBA", (32, 32), (10, 200, 30, 0))),
        encoded(Image.new("LA", (32, 32), (10, 0))),
        palette_with_transparency(),
    ],
    ids=["RGBA", "LA", "P"],
)
def test_transparency_becomes_white(content):
    assert decode(content).min() == 255


def test_half_transparent_black_over_white_is_gray():
    decoded = decode(encoded(Image.new("RGBA", (32, 32), (0, 0, 0, 128))))
    assert np.abs(decoded.astype(int) - 127).max() <= 1


def test_16_bit_gray_is_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 1024).astype(np.uint16).reshape(32, 32)
    decoded = decode(encoded(Image.fromarray(ramp)))
    assert np.array_equal(decoded[0], (ramp >> 8).astype(np.uint8))


@pytest.mark.parametrize("mode", ["1", "L", "CMYK"])
def test_other_color_modes_are_normalized(mode):
    content = encoded(
        Image.new("RGB", (40, 40), "white").convert(mode), "JPEG" if mode == "CMYK" else "PNG"
    )
    assert decode(content).min() >= 250


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PPM", "ICO"])
def test_formats_beyond_the_list_are_refused(kind):
    with pytest.raises(DataError, match="not a PNG, JPEG, WebP or BMP"):
        decode(encoded(Image.new("RGB", (32, 32)), kind))


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"<html></html>", b"\x89PNG\r\n\x1a\n" + b"\0" * 40]
)
def test_what_is_no_image_is_refused(content):
    with pytest.raises(DataError):
        decode(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_a_truncated_image_is_refused(kind):
    content = encoded(Image.fromarray(noise(64, 64)), kind)
    with pytest.raises(DataError, match="damaged"):
        decode(content[: len(content) // 2])
