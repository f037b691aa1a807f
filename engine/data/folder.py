"""Class folders of the user, on disk or in a zip: decoded once, then cached.

    train/<class>/<image> and test/<class>/<image>    or    <class>/<image>

Splits may have any customary name, such as `Training` or `test_set`; validation images are used
where there are no test images (see `layout.plan`). Images may be nested inside a class folder.
Every file is decoded on import, so that a damaged one is reported before a training starts; for
size, transparency and orientation see `images.open_rgb`. What a person should know of an import,
such as images that were cropped or left out, comes with the data as notes and warnings.
"""

import errno
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from PIL.Image import Image

from engine.data import images, layout, zips
from engine.data.cache import SCHEMA, cached
from engine.data.findings import Findings, find_duplicates
from engine.data.layout import Layout
from engine.data.listing import Listing, list_folder
from engine.data.progress import Watch
from engine.data.statistics import channel_statistics
from engine.data.types import IMAGE_SIZE, ImageData
from engine.data.zip_names import LEGACY
from engine.errors import BadFile, DataError
from engine.files import open_regular, read_regular

NAMED = 10  # damaged images in a message, at most
_HASH_CHUNK = 2**20


def load(path: Path, root: Path, watch: Watch, fit: str) -> ImageData:
    """The images of a folder or zip, from the cache under `root` unless its content has changed.

    fit: see `images.to_square`. Raises DataError, which names the file or class at fault, or
    Cancelled.
    """
    version = f"d{images.VERSION}-l{layout.VERSION}-s{SCHEMA}-{fit}"
    if path.is_dir():
        listing = list_folder(path, watch)
        key = f"folder-{version}-{_listing_hash(path, listing.files)}"
        source = FolderImages(path, listing)
        return cached(root, key, lambda: decode(source, path.name, watch, fit), watch)
    key = f"zip-{version}-{_file_hash(path, watch)}"
    return cached(root, key, lambda: _import_zip(path, watch, fit), watch)


class FolderImages:
    """The files of a folder, as ZipImages gives those of a zip: listed, and read within limits."""

    def __init__(self, path: Path, listing: Listing):
        self.files, self.folders, self.ignored = listing.files, listing.folders, listing.ignored
        self.guessed: list[str] = []
        self._path = path
        self._total = 0

    def read(self, name: str) -> bytes:
        """The content of a file. Raises BadFile, or DataError for too much in all."""
        try:
            content = read_regular(self._path / name, zips.MAX_IMAGE_BYTES)
        except OSError as error:
            limit = f"larger than {zips.MAX_IMAGE_BYTES >> 20} MB"
            why = limit if error.errno == errno.EFBIG else f"cannot be read ({error.strerror})"
            raise BadFile(why) from error
        self._total += len(content)
        if self._total > zips.MAX_TOTAL_BYTES:
            raise DataError(
                f"{self._path.name}: more than {zips.MAX_TOTAL_BYTES >> 30} GB of images"
            )
        return content


class Source(Protocol):
    """Files of a user: relative paths with "/", and what is left out or was guessed of them."""

    files: list[str]
    folders: list[str]
    ignored: list[str]  # clutter
    guessed: list[str]  # names in a legacy encoding

    def read(self, name: str) -> bytes: ...


class BadImages(DataError):
    """Images that cannot be used: their names, each with the reason."""

    def __init__(self, label: str, bad: dict[str, str], total: int):
        # Quoted if need be: a name may contain line breaks and terminal escape sequences.
        names = (name if name.isprintable() else ascii(name) for name in bad)
        lines = [f"{name}: {reason}" for name, reason in zip(names, bad.values(), strict=True)]
        more = f"; and {len(bad) - NAMED:,} more" if len(bad) > NAMED else ""
        super().__init__(
            f"{label}: {len(bad):,} of {total:,} images cannot be used, remove or replace "
            f"them: {'; '.join(lines[:NAMED])}{more}"
        )
        self.bad = bad


def _import_zip(path: Path, watch: Watch, fit: str) -> ImageData:
    with zips.ZipImages(path) as archive:
        return decode(archive, path.name, watch, fit)


def decode(source: Source, label: str, watch: Watch, fit: str) -> ImageData:
    """Plan the splits and decode every image. Raises DataError, Cancelled; BadImages at the end."""
    plan = layout.plan(source.files, source.folders, label)
    data = _decode_all(label, plan, source.read, watch, fit)
    return data.with_notes(_ignored(source.ignored) + _guessed(source.guessed))


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
    """Decode every image. Raises BadImages with all that fail."""
    samples, findings = plan.train + plan.test, Findings(fit)
    pixels = torch.empty(len(samples), 3, IMAGE_SIZE, IMAGE_SIZE, dtype=torch.uint8)
    rows = pixels.numpy()
    bad: dict[str, str] = {}
    for index, (name, _) in enumerate(samples):
        watch.tick(f"importing {label}", index, len(samples), "images")
        try:
            image = _open(read, name)
            rows[index] = images.to_pixels(image, fit)
            findings.add(name, image)
        except BadFile as error:
            bad[name] = str(error)
    watch.tick(f"importing {label}", len(samples), len(samples), "images")
    if bad:
        raise BadImages(label, bad, len(samples))
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


def _open(read: Callable[[str], bytes], name: str) -> Image:
    """Read and decode an image. Raises BadFile, or DataError for too many bytes in all."""
    content = read(name)
    try:
        return images.open_rgb(content)
    except DataError as error:
        raise BadFile(str(error)) from error


def _listing_hash(path: Path, files: list[str]) -> str:
    """SHA-256 of the absolute path and of the name, size and modification time of each file."""
    # The path too: extracted archives may give every file the same time.
    digest = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape"))
    for name in files:
        try:
            about = (path / name).stat()
            state = f"{about.st_size}\0{about.st_mtime_ns}"
        except OSError:  # a dangling link: if it is an image, reading it will say so
            state = ""
        line = f"\n{name}\0{state}"
        digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _file_hash(path: Path, watch: Watch) -> str:
    """SHA-256 of a zip. Raises DataError for what is none, before all of it is read."""
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            total = zips.check_size(file, path.name)
            while chunk := file.read(_HASH_CHUNK):
                digest.update(chunk)
                watch.tick(f"checking {path.name}", file.tell(), total, "bytes")
    except OSError as error:
        raise DataError(f"{path.name}: cannot be read ({error.strerror})") from error
    return digest.hexdigest()
