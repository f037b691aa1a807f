"""Conversion of decoded images of any mode to 8-bit RGB on white."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

_STRIP = 256  # rows
# By the layout of the pixels in the file, in Pillow's words.
_BITS = {"L;2": 2, "L;4": 4, "I;16B": 16, "RGB;16B": 16, "LA;16B": 16, "RGBA;16B": 16}


def bit_depth(image: Image.Image) -> int:
    """Bits of each value in the file of an image that is not decoded yet: 2, 4, 16, else 8."""
    arguments = image.tile[0].args if getattr(image, "tile", None) else None
    return _BITS.get(arguments, 8) if isinstance(arguments, str) else 8


def to_rgb(image: Image.Image, bits: int) -> tuple[Image.Image, int]:
    """An image of `bit_depth` bits as 8-bit RGB over white, and the bits that its values use.

    16-bit values are divided by 256, so that those of a 12-bit camera come out dark. The image
    is consumed.
    """
    if image.mode.startswith("I"):
        return _from_16_bits(image)
    key = image.info.get("transparency")
    if bits != 8 and key is not None:  # PNG gives it at the depth of the file
        image.info["transparency"] = _scaled(key, bits)
    used = bits
    if bits == 16:
        highest = _highest(image)
        used = 8 + highest.bit_length() if highest else 0
    return _opaque(image), used


def _highest(image: Image.Image) -> int:
    """The highest 8-bit value of the pixels that are not fully transparent; 0 without any."""
    if not image.has_transparency_data:
        return max(high for _, high in image.getextrema())
    found = []
    for strip, _ in _strips(image):
        values = np.asarray(strip)
        found += values[values[..., 3] > 0][:, :3].max(axis=0, initial=0).tolist()
    return max(found)


def _strips(image: Image.Image) -> Iterator[tuple[Image.Image, tuple[int, int, int, int]]]:
    """Strips of an image in RGBA, each with its box: of 50 megapixels all take 600 MB more."""
    for top in range(0, image.height, _STRIP):
        box = (0, top, image.width, min(top + _STRIP, image.height))
        yield image.crop(box).convert("RGBA"), box


def _scaled(key: Any, bits: int) -> Any:
    """A transparent gray level or color as 8 bits."""
    if isinstance(key, tuple):
        return tuple(_scaled(value, bits) for value in key)
    return key >> 8 if bits == 16 else key * 255 // (2**bits - 1)


def _from_16_bits(image: Image.Image) -> tuple[Image.Image, int]:
    """16-bit grayscale, which convert() would clip to white."""
    values, key = np.asarray(image), image.info.get("transparency")
    gray = (values >> 8).astype(np.uint8)
    visible = values
    if key is not None:
        gray[values == key] = 255
        visible = values[values != key]
    return Image.fromarray(gray).convert("RGB"), int(visible.max(initial=0)).bit_length()


def _opaque(image: Image.Image) -> Image.Image:
    if image.format == "BMP" and image.mode == "RGBA" and not image.getchannel("A").getextrema()[1]:
        return image.convert("RGB")  # a fourth byte that is not in use, not transparency
    if image.has_transparency_data:
        return _on_white(image)
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Composite over white."""
    opaque = Image.new("RGB", image.size)
    for strip, box in _strips(image):
        strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        opaque.paste(strip.convert("RGB"), box)
    return opaque
