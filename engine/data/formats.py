"""Image file formats: which are decoded, how their files are named, and the sizes accepted.

One table for import, Classify and Augmentations.
"""

from pathlib import PurePosixPath

DECODED = {  # by Pillow's name of the format
    "PNG": (".png", ".apng"),
    # Also multi-picture files (MPO), which phones write and name .jpg.
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp", ".mpo"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
}
# Images that cannot be decoded here. In a data set they are refused by name, not left out.
OTHERS = (
    *(".gif", ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif", ".jp2", ".j2k", ".jxl", ".jxr"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".svg", ".ico", ".tga", ".pcx", ".psd", ".exr", ".hdr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"),
)
SUFFIXES = {*OTHERS, *(suffix for suffixes in DECODED.values() for suffix in suffixes)}
TITLE = "PNG, JPEG, WebP or BMP"
MAX_PIXELS = 50_000_000  # 150 MB once decoded: allows large photographs, not decompression bombs
MAX_ASPECT = 32  # beyond it a padded image would be less than one pixel high


def is_image(name: str) -> bool:
    """Whether a file is named like an image, decodable or not."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES
