"""Row 5 of docs/FAULTS.md: another format under an image's name."""

import io

import pytest
from PIL import Image

from engine.errors import DataError
from engine.predict import decode_image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>'


@pytest.fixture
def other(picture):
    """other("GIF"): a file of that format."""
    return lambda kind: {"EPS": EPS, "SVG": SVG}.get(kind) or picture(kind)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "EPS", "SVG", "PPM", "ICO", "PDF", "JPEG2000"])
@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_it_is_refused(upload, other, kind, name):
    (error,) = upload((name, other(kind))).error
    assert name in error.value and "not a PNG, JPEG, WebP or BMP image" in error.value


def test_no_other_decoder_is_ever_asked(other, monkeypatch):
    Image.init()
    for kind, (_, accept) in list(Image.OPEN.items()):
        if kind not in ("PNG", "JPEG", "WEBP", "BMP"):
            monkeypatch.setitem(Image.OPEN, kind, (pytest.fail, accept))
    with pytest.raises(DataError):
        decode_image(other("GIF"))


def test_a_phone_s_multi_picture_jpeg_gives_its_first_picture_and_says_so(upload, shown):
    """MPO passes as JPEG; it is let in knowingly, since phones write it for ordinary photos."""
    file = io.BytesIO()
    first, second = (Image.new("RGB", (64, 48), colour) for colour in ("red", "blue"))
    first.save(file, "MPO", save_all=True, append_images=[second])
    app = upload(("photo.jpg", file.getvalue()))
    assert not app.error and "the first of 2 pictures in the file" in shown(app)
