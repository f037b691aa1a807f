"""Row 8 of docs/FAULTS.md: uploads that are too large or too many."""

from engine.predict import MAX_BYTES
from pages.ui.classify.pictures import MAX_PICTURES


def test_the_browser_is_told_the_limit(classify_page):
    assert classify_page.file_uploader(key="upload").proto.max_upload_size_mb == 20
    assert MAX_BYTES == 20 * 2**20


def test_a_file_that_came_past_the_browser_is_refused(upload, shown, picture):
    """A raw upload up to the server's own limit reaches the page."""
    large = picture() + bytes(MAX_BYTES)
    app = upload(("large.png", large), ("good.png", picture()))
    (error,) = app.error
    assert "large.png" in error.value and "more than 20 MB" in error.value
    assert "good.png" in shown(app)


def test_of_too_many_the_first_are_taken_and_it_is_said(upload, shown, picture):
    content = picture()
    app = upload(*((f"{i}.png", content) for i in range(MAX_PICTURES + 3)))
    (warning,) = app.warning
    assert f"{MAX_PICTURES + 3} pictures" in warning.value
    assert f"first {MAX_PICTURES}" in warning.value
    assert shown(app).count("<article") == MAX_PICTURES
    assert ">63.png<" in shown(app) and ">64.png<" not in shown(app)
