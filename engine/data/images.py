"""Decoding of image files to 32×32 RGB: the same for import, Classify and Augmentations."""

import io
import math
import warnings

import numpy as np
from PIL import Image, ImageOps

from engine.data.formats import DECODED, MAX_ASPECT, MAX_PIXELS, TITLE
from engine.data.jpeg import with_end_marker
from engine.data.pixels import bit_depth, to_rgb
from engine.data.types import IMAGE_SIZE
from engine.errors import DataError
from engine.inputs import FITS

VERSION = 2  # of the decoded pixels; increment when they change, to invalidate caches
_TOO_MANY = f"more than {MAX_PIXELS // 10**6} megapixels"
_DRAFT_SIZE = 4 * IMAGE_SIZE  # a JPEG may be decoded at a reduced size, at least this
DARK_BITS = 14  # 16-bit images that use at most this many bits decode to a dark image


def open_rgb(content: bytes, part: int | None = None) -> Image.Image:
    """Decode a PNG, JPEG, WebP or BMP file to RGB.

    Rotated according to its EXIF data; transparency is composited over white. A large JPEG may be
    decoded at 1/2, 1/4 or 1/8 of its size, less so if only a part is wanted: a square of `part`
    pixels. Of an animation or a multi-picture file, the first
    image is returned. `info` of the result holds the `size` (width, height) of the upright image
    in the file, its number of `frames`, and `dark_bits`: None, or the number of bits that the
    values of a dark 16-bit image use. Raises DataError with the reason.
    """
    try:
        return _open(content, part)
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        raise DataError(f"not a {TITLE} image" if content else "the file is empty") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"far too many pixels, {_TOO_MANY}") from error
    except Exception as error:  # Pillow raises SyntaxError, struct.error, … for damaged files
        raise DataError(f"damaged image ({error})") from error


def _open(content: bytes, part: int | None) -> Image.Image:
    try:
        image, size, bits = _load(content, part)
    except OSError:
        if (repaired := with_end_marker(content)) is None:
            raise
        image, size, bits = _load(repaired, part)
    frames, drafted = getattr(image, "n_frames", 1), image.size
    ImageOps.exif_transpose(image, in_place=True)  # without a copy if it is upright
    if image.size != drafted:  # rotated by 90°
        size = size[::-1]
    image, used = to_rgb(image, bits)
    dark = bits == 16 and 0 < used <= DARK_BITS
    image.info = {"size": size, "frames": frames, "dark_bits": used if dark else None}
    return image


def _load(content: bytes, part: int | None) -> tuple[Image.Image, tuple[int, int], int]:
    """The decoded image, its size in the file and its bit depth. Raises DataError for its size."""
    with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
        image = Image.open(io.BytesIO(content), formats=tuple(DECODED))
    size, bits = image.size, bit_depth(image)
    if image.width * image.height > MAX_PIXELS:
        raise DataError(f"{image.width}×{image.height} pixels, {_TOO_MANY}")
    if max(size) > MAX_ASPECT * min(size):
        raise DataError(
            f"{image.width}×{image.height} pixels, too thin: one side is more than {MAX_ASPECT} "
            "times the other"
        )
    least = (_DRAFT_SIZE, _DRAFT_SIZE)
    if part is not None:
        least = tuple(math.ceil(side * _DRAFT_SIZE / part) for side in size)
    image.draft("RGB", least)
    image.load()
    return image, size, bits


def to_square(image: Image.Image, fit: str = "crop") -> Image.Image:
    """Resize an RGB image to 32×32, bicubic with antialiasing.

    fit: "crop" takes the central square; "pad" keeps the whole image and pads it with black, as
    the random crop of training does. A 32×32 image keeps its pixels. Raises ValueError for an
    unknown fit.
    """
    if fit not in FITS:
        raise ValueError(f"unknown fit {fit!r}; known: {', '.join(FITS)}")
    if image.size == (IMAGE_SIZE, IMAGE_SIZE):
        return image
    if fit == "crop":
        # The same as resizing the whole image and cropping, without the long strip that a
        # 1×30 image would become.
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
        return image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC, box=box)
    scale = IMAGE_SIZE / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    square = Image.new("RGB", (IMAGE_SIZE, IMAGE_SIZE))
    corner = ((IMAGE_SIZE - width) // 2, (IMAGE_SIZE - height) // 2)
    square.paste(image.resize((width, height), Image.Resampling.BICUBIC), corner)
    return square


def to_pixels(image: Image.Image, fit: str = "crop") -> np.ndarray:
    """uint8 [3, 32, 32] of an RGB image: the input of a network before normalization."""
    return np.array(to_square(image, fit)).transpose(2, 0, 1)
