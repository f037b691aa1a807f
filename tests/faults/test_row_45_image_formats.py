"""Row 45 of docs/FAULTS.md: one decoder and one list of formats for import and uploads."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.data import formats, images, load
from engine.errors import DataError
from engine.predict import decode_image, to_input

SIDE = 40


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(rows: np.ndarray, bits: int, kind: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of this bit depth and color type; rows: the bytes of each row."""
    height, width = rows.shape[0], rows.shape[1] * 8 // (bits * {0: 1, 2: 3, 4: 2, 6: 4}[kind])
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in ((b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")):
        checksum = struct.pack(">I", zlib.crc32(name + body))
        content += struct.pack(">I", len(body)) + name + body + checksum
    return content


def png16(values: np.ndarray, kind: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A 16-bit PNG of [H, W] or [H, W, C] values."""
    rows = values.astype(">u2").reshape(len(values), -1).view(np.uint8)
    return png(rows, 16, kind, *chunks)


def mpo() -> bytes:
    first, second = (Image.new("RGB", (SIDE, SIDE), color) for color in ("red", "blue"))
    return encoded(first, "MPO", save_all=True, append_images=[second])


def bmp32(alpha: int) -> bytes:
    """A BMP with an alpha channel, as Windows writes it with BITFIELDS (header version 4)."""
    pixels = np.full((SIDE, SIDE, 4), (30, 60, 200, alpha), np.uint8).tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, SIDE, SIDE, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header += masks + bytes(108 - 40 - 16)
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + pixels


@pytest.fixture
def imported(tmp_path):
    """imported("a.jpg", bytes): the first training image of a data set with this file."""

    def run(name: str, content: bytes) -> torch.Tensor:
        for index, split in enumerate(("train", "test")):
            for shade, other in enumerate(("ant", "bee")):
                path = tmp_path / "pets" / split / other / "x.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(Image.new("RGB", (32, 32), (index, shade, 9))))
        (tmp_path / "pets" / "train" / "ant" / name).write_bytes(content)
        return load(str(tmp_path / "pets"), tmp_path / "root").train_images[0]

    return run


ACCEPTED = {
    "a.jpg": mpo(),
    "a.mpo": mpo(),
    "a.jfif": encoded(Image.new("RGB", (SIDE, SIDE), "red"), "JPEG"),
    "a.JPE": encoded(Image.new("RGB", (SIDE, SIDE), "red"), "JPEG"),
    "a.pjpeg": encoded(Image.new("RGB", (SIDE, SIDE), "red"), "JPEG", progressive=True),
    "a.apng": encoded(Image.new("RGB", (SIDE, SIDE), "red"), "PNG"),
    "a.dib": encoded(Image.new("RGB", (SIDE, SIDE), "red"), "BMP"),
    "a.webp": encoded(Image.new("RGB", (SIDE, SIDE), "red"), "WEBP"),
    "misnamed.png": encoded(Image.new("RGB", (SIDE, SIDE), "red"), "JPEG"),
}


@pytest.mark.parametrize(("name", "content"), ACCEPTED.items(), ids=ACCEPTED)
def test_what_classify_accepts_an_import_accepts(imported, name, content):
    image = imported(name, content)
    assert torch.equal(image, to_input(decode_image(content)))
    assert image[0].min() > 240 and image[1:].max() < 15


@pytest.mark.parametrize("name", ["a.jpg", "a.jfif", "a.apng", "a.dib"])
def test_both_upload_pages_accept_it(app, upload, name):
    assert not upload((name, ACCEPTED[name])).error
    at = app("pages/4_Augmentations.py")
    assert not at.file_uploader(key="upload").proto.type, "the decoder decides, not the name"
    at.file_uploader(key="upload").set_value([(name, ACCEPTED[name], "image/jpeg")]).run()
    assert not at.exception and not at.error


REFUSED = {
    "GIF": encoded(Image.new("RGB", (SIDE, SIDE)), "GIF"),
    "TIFF": encoded(Image.new("RGB", (SIDE, SIDE)), "TIFF"),
    "a strip": encoded(Image.new("RGB", (formats.MAX_ASPECT + 1, 1))),
    "no image": b"hello",
    "nothing": b"",
}


@pytest.mark.parametrize("content", REFUSED.values(), ids=REFUSED)
def test_what_classify_refuses_an_import_refuses_with_the_same_reason(imported, content):
    with pytest.raises(DataError) as error:
        imported("a.png", content)
    with pytest.raises(DataError) as reason:
        decode_image(content)
    assert str(error.value).endswith(f"train/ant/a.png: {reason.value}")


@pytest.mark.parametrize("name", ["a.heic", "a.HIF", "a.avif", "a.cr3", "a.tga", "a.psd"])
def test_a_picture_that_cannot_be_read_is_named_not_left_out(imported, name):
    with pytest.raises(DataError, match=f"train/ant/{name}"):
        imported(name, b"whatever")


# ---------------------------------------------------------------------------- transparency, depth


GRAY = np.full((SIDE, SIDE), 20_000)
GRAY[:, : SIDE // 2] = 0x1234
COLOR = np.stack([GRAY, GRAY // 2, GRAY // 3], axis=2)
NIBBLES = np.full((SIDE, SIDE // 2), 0x55, np.uint8)  # two gray levels of 4 bits in a byte
NIBBLES[:, : SIDE // 4] = 0x33
TRANSPARENT = {  # the left half is transparent
    "gray, 16 bits": png16(GRAY, 0, (b"tRNS", struct.pack(">H", 0x1234))),
    "RGB, 16 bits": png16(COLOR, 2, (b"tRNS", struct.pack(">3H", *COLOR[0, 0]))),
    "gray, 4 bits": png(NIBBLES, 4, 0, (b"tRNS", struct.pack(">H", 3))),
    "gray with alpha, 16 bits": png16(
        np.stack([GRAY, np.where(GRAY == 0x1234, 0, 65535)], axis=2), 4
    ),
}


@pytest.mark.parametrize("content", TRANSPARENT.values(), ids=TRANSPARENT)
def test_transparency_of_any_depth_is_white(content):
    seen = np.asarray(images.open_rgb(content))
    assert seen[:, : SIDE // 2].min() == 255
    assert seen[:, SIDE // 2 :].min() > 0 and seen[:, SIDE // 2 :].max() < 100


def test_a_bmp_whose_alpha_is_all_zero_is_opaque():
    for alpha in (0, 255):
        seen = np.asarray(images.open_rgb(bmp32(alpha)))
        assert (seen == (200, 60, 30)).all()
    half = np.asarray(images.open_rgb(bmp32(128)))
    assert half[0, 0, 2] > 130, "alpha that is in use counts"


RAMP = np.linspace(0, 4095, SIDE * SIDE).reshape(SIDE, SIDE)
DARK = {
    "gray": png16(RAMP, 0),
    "RGB": png16(np.stack([RAMP] * 3, axis=2), 2),
    "gray, part transparent": png16(
        np.where(RAMP < 9, 65535, RAMP), 0, (b"tRNS", struct.pack(">H", 65535))
    ),
    "gray with alpha": png16(np.stack([RAMP, 65535 * (RAMP > 9)], axis=2), 4),
    "RGB with alpha": png16(np.stack([RAMP] * 3 + [65535 * (RAMP > 9)], axis=2), 6),
}


@pytest.mark.parametrize("content", DARK.values(), ids=DARK)
def test_12_bit_values_in_16_bits_are_told(imported, tmp_path, upload, shown, content):
    assert images.open_rgb(content).info["dark_bits"] == 12
    imported("a.png", content)
    (warning,) = load(str(tmp_path / "pets"), tmp_path / "root").warnings
    assert "nearly black (1): 'train/ant/a.png'" in warning
    assert "dark: its values use 12 of 16 bits" in shown(upload(("a.png", content)))


@pytest.mark.parametrize("kind", ["gray", "RGB with alpha", "as bright as any"])
def test_the_augmentations_page_tells_it_too(app, kind):
    content = DARK.get(kind, png16(RAMP * 16, 0))
    at = app("pages/4_Augmentations.py")
    at.file_uploader(key="upload").set_value([("a.png", content, "image/png")]).run()
    assert not at.exception
    told = any("its values use 12 of 16 bits" in caption.value for caption in at.caption)
    assert told is (kind in DARK)


@pytest.mark.parametrize(
    "content",
    [
        png16(RAMP * 16, 0),
        png16(np.zeros((SIDE, SIDE)), 0),
        png16(np.zeros((SIDE, SIDE, 4)), 6),
        encoded(Image.new("RGB", (SIDE, SIDE), (3, 3, 3))),
        encoded(Image.new("L", (SIDE, SIDE), 3)),
    ],
    ids=["the full range", "black", "nothing but transparency", "8 bits", "8 bits, gray"],
)
def test_other_dark_pictures_are_not_told(content):
    assert images.open_rgb(content).info["dark_bits"] is None


# ---------------------------------------------------------------------------- JPEG end marker


def photo(size: tuple[int, int] = (96, 64), **options) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", **options)


PHOTOS = {
    "baseline": photo(),
    "progressive": photo(progressive=True),
    "restart markers": photo(restart_marker_blocks=3),
    "progressive, restart markers": photo(progressive=True, restart_marker_rows=1),
    "no subsampling": photo(subsampling=0),
    "large, decoded at a fraction": photo((700, 500)),
}


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("content", PHOTOS.values(), ids=PHOTOS)
def test_a_jpeg_without_its_end_marker_is_accepted(content, missing):
    seen, whole = images.open_rgb(content[:-missing]), images.open_rgb(content)
    assert np.array_equal(seen, whole) and seen.info == whole.info


@pytest.mark.parametrize("content", list(PHOTOS.values())[:5], ids=list(PHOTOS)[:5])
def test_a_jpeg_without_more_is_refused(content):
    for missing in (*range(5, 40, 3), *range(40, len(content) - 30, len(content) // 12)):
        with pytest.raises(DataError, match="damaged"):
            images.open_rgb(content[:-missing])


def test_a_progressive_jpeg_without_its_last_scan_is_refused():
    """Its pixels decode without an error, but coarsely."""
    content = PHOTOS["progressive"]
    last = content.rindex(b"\xff\xda")
    with pytest.raises(DataError, match="damaged"):
        images.open_rgb(content[: content.rindex(b"\xff\xc4", 0, last)])


# ---------------------------------------------------------------------------- paths


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The home folder, with a data set "pets" in it."""
    for split in ("train", "test"):
        for index, name in enumerate(("cat", "dog")):
            path = tmp_path / "pets" / split / name / "1.png"
            path.parent.mkdir(parents=True)
            path.write_bytes(encoded(Image.new("L", (32, 32), index * 9)))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


def test_a_tilde_is_expanded_in_the_form_as_in_the_terminal(home, open_own, train_on):
    at = open_own("~/pets")
    assert not at.error and "**2 classes**" in " ".join(text.value for text in at.markdown)
    assert train_on("~/pets") == 0


def test_an_unknown_user_is_told(home, open_own):
    assert "there is nothing at \\~nobody-here/x" in open_own("~nobody-here/x").error[0].value


def test_a_tilde_in_the_other_paths(home, train_on):
    assert train_on("~/pets", "--data-root=~/kept") == 0
    assert (home / "kept" / "cache").is_dir() and not Path("~").exists()
    assert train_on("~/pets", "--name", "b", "--pretrained=~/runs/a/last.safetensors") == 0


def test_a_folder_called_like_a_built_in_set_is_read_from_the_form(home, open_own, monkeypatch):
    monkeypatch.chdir(home)
    (home / "pets").rename(home / "shapes")
    at = open_own("shapes")
    assert not at.error and "**2 classes**" in " ".join(text.value for text in at.markdown)
