"""Row 6 of docs/FAULTS.md: unusual images are converted, or refused with the reason."""

import io

import numpy as np
import pytest
from PIL import Image


def png(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def palette_with_alpha():
    image = Image.new("P", (40, 40), 0)
    image.putpalette([10, 200, 30, 90, 90, 90])
    return png(image, transparency=0)


FINE = {
    "CMYK": (png(Image.new("CMYK", (40, 30)), "JPEG"), "40×30 pixels"),
    "16 bits": (png(Image.fromarray(np.zeros((30, 40), np.uint16))), "40×30 pixels"),
    "palette with alpha": (palette_with_alpha(), "40×40 pixels"),
    "turned by EXIF": (png(Image.new("RGB", (40, 30)), exif=turned(6)), "30×40 pixels"),
    "EXIF that makes no sense": (png(Image.new("RGB", (40, 30)), exif=turned(99)), "40×30 pixels"),
    "1×1": (png(Image.new("RGB", (1, 1))), "1×1 pixels"),
    "animated": (
        png(Image.new("RGB", (40, 30)), save_all=True, append_images=[Image.new("L", (40, 30), 9)]),
        "40×30 pixels, the first of 2 pictures in the file",
    ),
}


@pytest.mark.parametrize(("content", "about"), FINE.values(), ids=FINE)
def test_it_is_classified_and_described(upload, shown, content, about):
    app = upload(("a.png", content))
    assert not app.error
    assert f">{about}<" in shown(app) and "32×32 input" in shown(app)


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (20_000, 100)])
def test_a_strip_is_refused_with_the_reason(upload, size):
    (error,) = upload(("strip.png", png(Image.new("RGB", size)))).error
    assert f"{size[0]}×{size[1]} pixels, too thin" in error.value
