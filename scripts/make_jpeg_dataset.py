"""Make "CIFAR-10 (JPEG)": CIFAR-10 as a zip of small JPEG files, for `--dataset FILE.zip`.

    python scripts/make_jpeg_dataset.py cifar10-jpeg.zip [--data-root data]

Reads (or downloads) the official archive under the data root and writes train/<class>/NNNN.jpg and
test/<class>/NNNN.jpg, numbered within each class in the archive's order: quality 75, chroma at half
the resolution (4:2:0). JPEG loses detail, so networks score some points lower than on the original.
The same Pillow version writes the same bytes.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections import Counter
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from engine import data
from engine.errors import DataError
from engine.files import replace
from engine.predict import to_image

QUALITY, CHROMA_4_2_0 = 75, 2
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest zip timestamp, for a reproducible file


def encode(pixels: torch.Tensor) -> bytes:
    """uint8 [3, H, W] as a JPEG file."""
    file = io.BytesIO()
    to_image(pixels).save(file, "JPEG", quality=QUALITY, subsampling=CHROMA_4_2_0)
    return file.getvalue()


def write(images: data.ImageData, file: Path) -> int:
    """Write the zip, whole or not at all. Returns the number of images."""
    staging = file.with_name(f".{file.name}.tmp")
    parts = {
        "train": (images.train_images, images.train_labels),
        "test": (images.test_images, images.test_labels),
    }
    count = 0
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_STORED) as archive:
            for part, (pixels, labels) in parts.items():
                numbers: Counter[str] = Counter()
                for image, label in zip(pixels, labels.tolist(), strict=True):
                    name = images.classes[label]
                    entry = f"{part}/{name}/{numbers[name]:04}.jpg"
                    archive.writestr(zipfile.ZipInfo(entry, LONG_AGO), encode(image))
                    numbers[name] += 1
                    count += 1
        replace(staging, file)
    finally:
        staging.unlink(missing_ok=True)
    return count


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path, help="the zip to write")
    parser.add_argument(
        "--data-root", type=Path, default=Path("data"), help="folder of the archive"
    )
    args = parser.parse_args(arguments)
    try:
        count = write(data.load("cifar10", args.data_root), args.file)
    except (DataError, OSError) as error:
        print(f"make_jpeg_dataset.py: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print(f"{args.file}: {count:,} images, {args.file.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
