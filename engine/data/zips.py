"""Reading of untrusted zip files: every entry is checked, and read in memory, not extracted."""

import io
import os
import re
import stat
import zipfile
import zlib
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from engine.data.clutter import clutter_in
from engine.data.zip_names import decode_name, raw_name
from engine.errors import BadFile, DataError

MAX_ENTRIES = 200_000  # 0.6 GB of decoded images; three times CIFAR-10
MAX_DIRECTORY_BYTES = 64 * 2**20  # central directory, read before entries can be counted
MAX_IMAGE_BYTES = 64 * 2**20  # of one entry; a 50-megapixel photograph has about 25 MB
MAX_TOTAL_BYTES = 16 * 2**30  # uncompressed; takes minutes
MAX_RATIO = 200  # uncompressed to compressed. Near 1 for image files; deflate reaches 1032
RATIO_FREE_BYTES = 64 * 2**20  # uncompressed size up to which any ratio is accepted
ARCHIVES = {".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"}
METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # those that zipfile decompresses in chunks
_LOCAL_HEADER_BYTES = 30
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    ValueError,
    NotImplementedError,
    RuntimeError,
)


def check_size(file: BinaryIO, label: str) -> int:
    """Size of a file in bytes. Raises DataError unless it ends like a zip of a usual size.

    Reads little: a file of the system may have no end, and a huge one takes long.
    """
    size = os.fstat(file.fileno()).st_size
    if not size or not zipfile.is_zipfile(file):
        raise DataError(
            f"{label}: not a complete zip file (truncated or damaged); make or download it again"
        )
    if size > MAX_TOTAL_BYTES:
        raise DataError(f"{label}: {size >> 30} GB; the limit is {MAX_TOTAL_BYTES >> 30}")
    file.seek(0)
    return size


class _BoundedReader(io.BufferedReader):
    """Bounds the single read with which zipfile loads the central directory."""

    def read(self, size=-1):
        if size is not None and size > MAX_DIRECTORY_BYTES + 1:
            raise DataError(f"its list of entries has more than {MAX_DIRECTORY_BYTES >> 20} MB")
        return super().read(size)


class ZipImages:
    """The entries of a zip, checked: `files` and `folders`, without the clutter (`ignored`).

    Names are decoded by `decode_name`; `guessed` are those in a legacy encoding. The constructor
    raises DataError, which names the entry or the limit, for paths that leave the archive, links,
    encrypted or overlapping entries, nested archives and zip bombs. label: name of an upload, for
    messages.
    """

    def __init__(self, zip_file: Path | BytesIO, label: str = ""):
        self._label = label or zip_file.name
        self._unpacked = 0
        self.files: list[str] = []
        self.folders: list[str] = []
        self.guessed: list[str] = []
        self._entries: dict[str, zipfile.ZipInfo] = {}  # of all files
        clutter: set[str] = set()
        try:
            raw = zip_file if isinstance(zip_file, BytesIO) else io.FileIO(zip_file)
        except OSError as error:
            raise DataError(f"{self._label}: cannot be opened ({error.strerror})") from error
        self._file = _BoundedReader(raw)
        try:
            self._zip = self._open()
            infos = self._zip.infolist()
            self._check_size(infos, self._file.seek(0, os.SEEK_END))
            for info in infos:
                self._add(info, clutter)
            self._check_overlap(infos)
        except BaseException:
            self._file.close()
            raise
        self.ignored = sorted(clutter)

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self._file)
        except _DAMAGE as error:
            reason = "truncated or damaged"
            if isinstance(error, DataError):
                reason = str(error)
            elif isinstance(error, UnicodeDecodeError):
                reason = "a name is marked as UTF-8 but is not"
            raise DataError(
                f"{self._label}: not a complete zip file ({reason}); make or download it again"
            ) from error

    def _add(self, info: zipfile.ZipInfo, clutter: set[str]) -> None:
        """Check an entry and list it by its path, without empty and "." components."""
        name, is_guess = decode_name(info)
        self._check_name(name)
        self._check_entry(info, name)
        path = "/".join(part for part in name.split("/") if part not in ("", "."))
        is_folder = name.endswith("/")
        if not is_folder:
            if path in self._entries:
                self._refuse(path, "is there twice")
            self._entries[path] = info
        if (found := clutter_in(path)) is not None:
            clutter.add(found)
            return
        (self.folders if is_folder else self.files).append(path)
        if is_guess:
            self.guessed.append(path)

    def __enter__(self) -> "ZipImages":
        return self

    def __exit__(self, *_) -> None:
        self._zip.close()
        self._file.close()

    def read(self, name: str) -> bytes:
        """The content of a file. Raises BadFile, or DataError for too much in all."""
        try:
            with self._zip.open(self._entries[name]) as file:
                content = file.read(MAX_IMAGE_BYTES + 1)
        except _DAMAGE as error:
            why = str(error) if str(error).isprintable() else ascii(str(error))
            raise BadFile(f"damaged in the zip ({why})") from error
        # The sizes in the headers may be forged.
        self._unpacked += len(content)
        if len(content) > MAX_IMAGE_BYTES:
            raise BadFile(f"unpacks to more than {MAX_IMAGE_BYTES >> 20} MB")
        if self._unpacked > MAX_TOTAL_BYTES:
            self._refuse(name, f"would bring the total beyond {MAX_TOTAL_BYTES >> 30} GB")
        return content

    def _refuse(self, name: str, reason: str):
        raise DataError(f"{self._label}: entry {name[:200]!r} {reason}")

    def _check_size(self, infos: list[zipfile.ZipInfo], packed: int) -> None:
        if len(infos) > MAX_ENTRIES:
            raise DataError(f"{self._label}: {len(infos)} entries; the limit is {MAX_ENTRIES}")
        total = sum(info.file_size for info in infos)
        if total > MAX_TOTAL_BYTES:
            raise DataError(
                f"{self._label}: unpacks to {total >> 30} GB; the limit is {MAX_TOTAL_BYTES >> 30}"
            )
        if total > RATIO_FREE_BYTES and total > MAX_RATIO * packed:
            raise DataError(
                f"{self._label}: unpacks to {total // packed} times its size; no set of images "
                f"does, and the limit is {MAX_RATIO}"
            )

    def _check_name(self, name: str) -> None:
        if "\\" in name or "\0" in name or name.startswith("/") or re.match("[A-Za-z]:", name):
            self._refuse(name, "is not a plain relative path")
        if ".." in name.split("/"):
            self._refuse(name, "points outside of the archive")

    def _check_entry(self, info: zipfile.ZipInfo, name: str) -> None:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            self._refuse(name, "is a link or a special file, not an image")
        if info.flag_bits & 1:
            self._refuse(name, "is encrypted; make the zip without a password")
        if info.compress_type not in METHODS:
            self._refuse(name, "uses an unusual compression; make the zip with deflate")
        if PurePosixPath(name).suffix.lower() in ARCHIVES and clutter_in(name) is None:
            self._refuse(name, "is an archive within the archive; unpack it first")

    def _check_overlap(self, infos: list[zipfile.ZipInfo]) -> None:
        """Refuse entries that overlap, as in zip bombs."""
        end, before = 0, ""
        for info in sorted(infos, key=lambda info: info.header_offset):
            if info.header_offset < end:
                self._refuse(info.orig_filename, f"overlaps with {before!r}")
            before = info.orig_filename
            name_bytes = len(raw_name(info))
            end = info.header_offset + _LOCAL_HEADER_BYTES + name_bytes + info.compress_size
