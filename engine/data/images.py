"""Decoding of image files to 32×32 RGB."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from engine.data.types import IMAGE_SIZE
from engine.errors import DataError

VERSION = 1  # of the decoded pixels; increment when they change, to invalidate caches
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 50_000_000  # 150 MB once decoded: allows large photographs, not decompression bombs
_TOO_MANY = f"more than {MAX_PIXELS // 10**6} megapixels"
FITS = ("crop", "pad")
_DRAFT_SIZE = 4 * IMAGE_SIZE  # a JPEG may be decoded at a reduced size, at least this
_STRIP = 256  # rows


def decode(content: bytes) -> np.ndarray:
    """uint8 [3, 32, 32] RGB of a PNG, JPEG, WebP or BMP file of any size up to 50 megapixels.

    `to_square(open_rgb(content))`: the central square. A 32×32 image keeps its pixels. Raises
    DataError with the reason.
    """
    return np.asarray(to_square(open_rgb(content))).transpose(2, 0, 1)


def open_rgb(content: bytes, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """Decode an image file of up to 50 megapixels to RGB.

    Rotated according to its EXIF data; transparency is composited over white. A large JPEG may be
    decoded at 1/2, 1/4 or 1/8 of its size. Of an animation, the first frame is returned. `info` of
    the result holds the `size` (width, height) of the upright image in the file, and its number of
    `frames`. formats: accepted values of Pillow's `Image.format`. Raises DataError with the reason.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.format not in formats:  # JPEG also opens multi-picture files, as MPO
            raise DataError(f"{image.format} is not supported")
        size = image.size
        if image.width * image.height > MAX_PIXELS:
            raise DataError(f"{image.width}×{image.height} pixels, {_TOO_MANY}")
        frames = getattr(image, "n_frames", 1)
        image.draft("RGB", (_DRAFT_SIZE, _DRAFT_SIZE))
        drafted = image.size
        ImageOps.exif_transpose(image, in_place=True)  # without a copy if it is upright
        if image.size != drafted:  # rotated by 90°
            size = size[::-1]
        image = _rgb(image)
        image.info = {"size": size, "frames": frames}
        return image
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        raise DataError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
    except Image.DecompressionBombError as error:
        raise DataError(f"far too many pixels, {_TOO_MANY}") from error
    except Exception as error:  # Pillow raises SyntaxError, struct.error, … for damaged files
        raise DataError(f"damaged image ({error})") from error


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
        # 1×10,000 image would become.
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


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grayscale, which convert() would clip to white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    image.load()
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Composite over white, in strips: whole images of 50 megapixels take 600 MB more."""
    opaque = Image.new("RGB", image.size)
    for top in range(0, image.height, _STRIP):
        box = (0, top, image.width, min(top + _STRIP, image.height))
        strip = image.crop(box).convert("RGBA")
        strip = Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip)
        opaque.paste(strip.convert("RGB"), box)
    return opaque
