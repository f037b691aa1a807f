"""Row 1 of docs/FAULTS.md: a file that is no image."""

import pytest

CASES = {
    "empty": (b"", "the file is empty"),
    "text": (b"hello, this is a letter\n" * 50, "not a PNG, JPEG, WebP or BMP image"),
    "html": (b"<html><script>alert(1)</script></html>", "not a PNG, JPEG, WebP or BMP image"),
    "zeros": (bytes(100_000), "not a PNG, JPEG, WebP or BMP image"),
    "PNG's first bytes": (b"\x89PNG\r\n\x1a\n", "image"),
    "PNG's first chunk": (b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + b"\xff" * 17, "image"),
    "JPEG's first bytes": (b"\xff\xd8\xff\xe0" + bytes(20), "image"),
    "BMP's first bytes": (b"BM" + b"\xff" * 60, "image"),
    "WebP's first bytes": (b"RIFF\x24\0\0\0WEBPVP8 " + bytes(30), "image"),
}


@pytest.mark.parametrize(("content", "words"), CASES.values(), ids=CASES)
def test_it_is_named_and_told_in_one_line(upload, content, words):
    app = upload(("picture.png", content))
    (error,) = app.error
    assert "picture.png" in error.value and words in error.value
    assert "\n" not in error.value and "Traceback" not in error.value


def test_the_rest_is_classified_and_the_session_lives(upload, shown, picture):
    app = upload(("bad.png", b"hello"), ("good.png", picture()), ("empty.png", b""))
    assert [("bad.png" in e.value, "empty.png" in e.value) for e in app.error] == [
        (True, False),
        (False, True),
    ]
    assert shown(app).count("<article") == 1 and "good.png" in shown(app)
    app.file_uploader(key="upload").set_value([("other.png", picture(), "image/png")]).run()
    assert not app.error and not app.exception and "other.png" in shown(app)
