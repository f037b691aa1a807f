"""Row 7 of docs/FAULTS.md: file names are never paths and are shown escaped."""

import pathlib

import pytest

from pages.ui import frame, text

NAMES = [
    "../../etc/passwd",
    "..\\..\\boot.ini",
    "/etc/x.png",
    "a\0b.png",
    "a\nb.png",
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "![x](http://127.0.0.1:9/x.png)",
    "[x](javascript:alert(1))",
    "**bold** :smile: $x^2$ :red[x]",
    "`code` ``more`` ```",
    "\u202egnp.exe",
    "",
    "x" * 5_000 + ".png",
]


@pytest.fixture
def no_file_of_that_name(monkeypatch):
    """Fails when a path is made of an uploaded name."""
    real = pathlib.Path.open
    opened = []

    def watched(self, *args, **kwargs):
        opened.append(str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, "open", watched)
    yield
    assert not [path for path in opened if any(name in path for name in NAMES if name)]


@pytest.mark.parametrize("name", NAMES)
def test_a_good_picture_s_name_is_escaped(upload, shown, picture, no_file_of_that_name, name):
    page = shown(upload((name, picture()))).replace(frame.SCRIPT, "")
    assert page.count("<article") == 1 and "<script" not in page and "<img src=x" not in page
    assert page.count("<img") == 2  # the original and the input, none from the name
    assert "\0" not in page and "\u202e" not in page


@pytest.mark.parametrize("name", NAMES)
def test_a_bad_file_s_name_is_escaped(upload, name):
    (error,) = upload((name, b"no image")).error
    name = text.shown_name(name)
    span = text.code(name)
    assert error.value.startswith(span) and "\n" not in error.value and "\0" not in error.value
    fence = span[: len(span) - len(span.lstrip("`"))]
    assert fence not in name  # so nothing in the name can end the code span
    assert len(error.value) < 300


def test_it_stays_escaped_beside_others(upload, shown, picture):
    app = upload(("<b>.png", picture()), ("<b>.png", b"bad"), ("plain.png", picture()))
    assert shown(app).count("&lt;b&gt;.png</span>") == 1 and "<b>.png" not in shown(app)
    assert len(app.error) == 1
