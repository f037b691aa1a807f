"""Class folders of the user, on disk or in a zip: decoded once, then cached.

    train/<class>/<image> and test/<class>/<image>    or    <class>/<image>

Splits may have any customary name, such as `Training` or `test_set`; validation images are used
where there are no test images (see `layout.plan`). Images may be nested inside a class folder.
Every file is decoded on import, so that a damaged one is reported before a training starts; for
size, transparency and orientation see `images.open_rgb`. What a person should know of an import,
such as images that were cropped or left out, comes with the data as notes and warnings.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from engine.data import images, layout, zips
from engine.data.cache import SCHEMA, cached
from engine.data.clutter import is_clutter
from engine.data.findings import Findings, find_duplicates
from engine.data.layout import Layout
from engine.data.progress import Watch
from engine.data.statistics import channel_statistics
from engine.data.types import IMAGE_SIZE, ImageData
from engine.data.zip_names import LEGACY
from engine.errors import DataError

MAX_FILES = zips.MAX_ENTRIES  # also ends the listing of a whole disk given by mistake
NAMED = 10  # at most so many damaged images in a message
_HASH_CHUNK = 2**20


@dataclass(frozen=True)
class Listing:
    """Relative paths below a folder: all files, sorted, all folders, and clutter, not entered."""

    files: list[str]
    folders: list[str]
    ignored: list[str]


def load(path: Path, root: Path, watch: Watch, fit: str) -> ImageData:
    """The images of a folder or zip, from the cache under `root` unless its content has changed.

    fit: see `images.to_square`. Raises DataError, which names the file or class at fault, or
    Cancelled.
    """
    version = f"d{images.VERSION}-l{layout.VERSION}-s{SCHEMA}-{fit}"
    if path.is_dir():
        listing = _walk(path, watch)
        key = f"folder-{version}-{_listing_hash(path, listing.files)}"
        return cached(root, key, lambda: _import_folder(path, listing, watch, fit), watch)
    key = f"zip-{version}-{_file_hash(path, watch)}"
    return cached(root, key, lambda: _import_zip(path, watch, fit), watch)


def _import_folder(path: Path, listing: Listing, watch: Watch, fit: str) -> ImageData:
    def read(name: str) -> bytes:
        try:
            if (path / name).stat().st_size > zips.MAX_IMAGE_BYTES:
                raise DataError(
                    f"{path.name}: {name!r} is larger than {zips.MAX_IMAGE_BYTES >> 20} MB"
                )
            return (path / name).read_bytes()
        except OSError as error:
            raise DataError(f"{path.name}: {name!r} cannot be read ({error.strerror})") from error

    plan = layout.plan(listing.files, listing.folders, path.name)
    return _decode_all(path.name, plan, read, watch, fit).with_notes(_ignored(listing.ignored))


def _import_zip(path: Path, watch: Watch, fit: str) -> ImageData:
    with zips.ZipImages(path) as archive:
        plan = layout.plan(archive.files, archive.folders, path.name)
        data = _decode_all(path.name, plan, archive.read, watch, fit)
        return data.with_notes(_ignored(archive.ignored) + _guessed(archive.guessed))


def _ignored(names: list[str]) -> list[str]:
    if not names:
        return []
    made_by = "made by systems, sync tools or editors"
    return [f"left out, {made_by} ({len(names):,}): {layout.some(sorted(names))}"]


def _guessed(names: list[str]) -> list[str]:
    if not names:
        return []
    return [
        f"names in a legacy encoding, read as {LEGACY} ({len(names):,}): {layout.some(names)}; if "
        "letters are wrong, make the zip again with UTF-8 names"
    ]


def _decode_all(
    label: str, plan: Layout, read: Callable[[str], bytes], watch: Watch, fit: str
) -> ImageData:
    """Decode every image. Raises one DataError that counts all images that fail."""
    samples, findings = plan.train + plan.test, Findings(fit)
    pixels = torch.empty(len(samples), 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    rows = pixels.numpy()
    bad: list[str] = []
    for index, (name, _) in enumerate(samples):
        watch.tick(f"importing {label}", index, len(samples), "images")
        content = read(name)
        try:
            image = images.open_rgb(content)
            rows[index] = images.to_pixels(image, fit)
            findings.add(name, image)
        except DataError as error:
            bad.append(f"{name}: {error}")
    watch.tick(f"importing {label}", len(samples), len(samples), "images")
    if bad:
        more = f"; and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
        raise DataError(
            f"{label}: {len(bad):,} of {len(samples):,} images cannot be used, remove or replace "
            f"them: {'; '.join(bad[:NAMED])}{more}"
        )
    labels = torch.tensor([label for _, label in samples])
    count = len(plan.train)
    mean, std = channel_statistics(pixels[:count])
    warnings = (*plan.warnings, *findings.warnings(), *find_duplicates(samples, pixels, count))
    return ImageData(
        label,
        plan.classes,
        mean,
        std,
        pixels[:count],
        labels[:count],
        pixels[count:],
        labels[count:],
        notes=(*findings.notes(len(samples)), *plan.notes),
        warnings=warnings,
    )


def _walk(path: Path, watch: Watch) -> Listing:
    """List what is below a folder. Links are followed, each once."""
    files, folders, ignored, seen = [], [], [], set()
    for current, inside, names in os.walk(path, followlinks=True):
        watch.tick(f"listing {path.name}", len(files), None, "files")
        if (real := os.path.realpath(current)) in seen:
            inside.clear()
            continue
        seen.add(real)
        below = Path(current).relative_to(path)
        ignored += [(below / name).as_posix() for name in inside + names if is_clutter(name)]
        inside[:] = sorted(name for name in inside if not is_clutter(name))
        folders += [(below / name).as_posix() for name in inside]
        files += [(below / name).as_posix() for name in names if not is_clutter(name)]
        if len(files) > MAX_FILES:
            raise DataError(f"{path.name}: more than {MAX_FILES} files; is this the right folder?")
    return Listing(sorted(files), folders, ignored)


def _listing_hash(path: Path, files: list[str]) -> str:
    """SHA-256 of the absolute path and of the name, size and modification time of each file."""
    # The path too: extracted archives may give every file the same time.
    digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape"))
    for name in files:
        try:
            about = (path / name).stat()
        except OSError as error:
            raise DataError(f"{path.name}: {name!r} cannot be read ({error.strerror})") from error
        line = f"\n{name}\0{about.st_size}\0{about.st_mtime_ns}"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _file_hash(path: Path, watch: Watch) -> str:
    digest = hashlib.sha256()
    try:
        total = path.stat().st_size
        with path.open("rb") as file:
            while chunk := file.read(_HASH_CHUNK):
                digest.update(chunk)
                watch.tick(f"checking {path.name}", file.tell(), total, "bytes")
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
