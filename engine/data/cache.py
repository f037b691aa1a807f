"""Cache of decoded images: `<root>/cache/<key>.safetensors`, replaced atomically.

A cache file holds the four tensors of an ImageData; its metadata hold the other fields and a
CRC-32 of each tensor, so that a damaged file is detected and recreated.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from engine.data.fingerprint import with_fingerprint
from engine.data.progress import Watch, hold
from engine.data.types import ImageData
from engine.errors import DataError
from engine.files import replace

SCHEMA = 1  # of the cache file; raise it when its tensors or metadata change
TENSORS = ("train_images", "train_labels", "test_images", "test_labels")
STAGING = ".partial"


def cached(root: Path, key: str, make: Callable[[], ImageData], watch: Watch) -> ImageData:
    """The data cached under `key`; on a miss, the result of `make()`, which is then cached.

    key: identifies the content and the version of the code that decoded it; a valid file name.
    Raises what `make` raises, Cancelled, or DataError if the folder cannot be written.
    """
    folder = root / "cache"
    path = folder / f"{key}.safetensors"
    if (data := read(path)) is not None:
        return data
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hold(folder / "import.lock", watch, "waiting for another import"):
            if (data := read(path)) is not None:  # written by the process that held the lock
                return data
            sweep(folder)
            data = with_fingerprint(make())
            write(path, data)
    except OSError as error:
        raise DataError(
            f"decoded images cannot be kept under {folder} ({error.strerror or error}): "
            "free some space or choose another data folder"
        ) from error
    return data


def sweep(folder: Path) -> None:
    """Remove partial files of killed imports. Call only while holding the import lock."""
    for path in folder.glob(f"*{STAGING}"):
        path.unlink(missing_ok=True)


def forget(root: Path, name: str) -> None:
    """Remove the decoded images of all folders called `name`; others than meant are read again."""
    for path in (root / "cache").glob("folder-*.safetensors"):
        with contextlib.suppress(OSError, SafetensorError, KeyError, TypeError, ValueError):
            with safe_open(path, framework="pt") as file:
                about = json.loads(file.metadata()["about"])
            if about["name"] == name:
                path.unlink()


def write(path: Path, data: ImageData) -> None:
    """Write to a partial file, fsync and rename it to `path`, so that readers see it complete."""
    tensors = {name: getattr(data, name).contiguous() for name in TENSORS}
    about = {
        "schema": SCHEMA,
        "name": data.name,
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "fingerprint": data.fingerprint,
        "notes": data.notes,
        "warnings": data.warnings,
        "crc32": {name: _crc32(tensor) for name, tensor in tensors.items()},
    }
    staging = path.with_name(path.name + STAGING)
    try:
        try:
            save_file(tensors, staging, metadata={"about": json.dumps(about)})
        except SafetensorError as error:  # raised for a full disk, among others
            raise OSError(str(error)) from error
        with staging.open("rb+") as file:
            os.fsync(file.fileno())
        replace(staging, path)
    except OSError:
        staging.unlink(missing_ok=True)
        raise


def read(path: Path) -> ImageData | None:
    """The data of a cache file; None if it is missing, damaged or of another schema."""
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["about"])
            if about["schema"] != SCHEMA:
                return None
            # A copy, not a view of the memory map: Windows cannot replace a mapped file.
            tensors = {name: file.get_tensor(name).clone() for name in TENSORS}
        if about["crc32"] != {name: _crc32(tensor) for name, tensor in tensors.items()}:
            return None
        classes, mean, std = (tuple(about[name]) for name in ("classes", "mean", "std"))
        # Absent from files of older versions; it is computed after every load of those.
        more = {"fingerprint": about.get("fingerprint", {})}
        more |= {key: tuple(about.get(key, ())) for key in ("notes", "warnings")}
        return ImageData(about["name"], classes, mean, std, **tensors, **more)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _crc32(tensor: Tensor) -> int:
    return zlib.crc32(tensor.numpy())
