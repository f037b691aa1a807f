"""From the bytes of an image file to 32×32 RGB, or a reason why not."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from engine.data.types import IMAGE_SIZE
from engine.errors import DataError

VERSION = 1  # of the decoded pixels; raise it when they change, so that caches are made again
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
MAX_PIXELS = 50_000_000  # 150 MB once decoded; a large phone's camera, yet no decompression bomb
_DRAFT_SIZE = 4 * IMAGE_SIZE  # a JPEG may be decoded at a fraction of its size, not below this


def decode(content: bytes) -> np.ndarray:
    """uint8 [3, 32, 32] RGB of a PNG, JPEG, WebP or BMP file of any size up to 50 megapixels.

    Turned as its EXIF data say; transparency composited over white; then the shorter side is
    resized to 32 (bicubic, antialiased) and the centre kept. A 32×32 image keeps its pixels.
    Of an animation the first picture counts. Raises DataError with the reason.
    """
    try:
        with warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning):
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        if image.format not in FORMATS:  # a multi-picture file opens as JPEG and says MPO
            raise DataError(f"{image.format} is not supported")
        if image.width * image.height > MAX_PIXELS:
            raise DataError(
                f"{image.width}×{image.height} pixels, more than {MAX_PIXELS // 10**6} megapixels"
            )
        image.draft("RGB", (_DRAFT_SIZE, _DRAFT_SIZE))
        return _fit(_rgb(ImageOps.exif_transpose(image)))
    except DataError:
        raise
    except Image.UnidentifiedImageError as error:
        raise DataError(f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} image") from error
    except Exception as error:  # damaged files make Pillow raise SyntaxError, struct.error, …
        raise DataError(f"damaged image ({error})") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grey, which convert() would clip to white
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _fit(image: Image.Image) -> np.ndarray:
    if image.size != (IMAGE_SIZE, IMAGE_SIZE):
        # Resizing the central square is the same as resizing all and cropping, without the
        # long strip that a 1×10,000 image would become.
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize(
            (IMAGE_SIZE, IMAGE_SIZE),
            Image.Resampling.BICUBIC,
            box=(left, top, left + side, top + side),
        )
    return np.asarray(image).transpose(2, 0, 1)
