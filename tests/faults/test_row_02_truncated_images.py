"""Row 2 of docs/FAULTS.md: a truncated image."""

import pytest
from PIL import ImageFile

from engine.errors import DataError
from engine.predict import decode_image


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_it_is_refused_wherever_it_ends(picture, kind):
    content = picture(kind, noisy=True)
    assert decode_image(content).size == (60, 40)
    for share in (0.05, 0.3, 0.6, 0.9):
        with pytest.raises(DataError):
            decode_image(content[: int(share * len(content))])
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
def test_the_page_tells_that_it_is_damaged(upload, shown, picture, kind):
    content = picture(kind, noisy=True)
    app = upload(("half.img", content[: len(content) // 2]))
    (error,) = app.error
    assert "half.img" in error.value and "damaged image" in error.value
    assert "<article" not in shown(app)
