"""Download of a large file: resumable, retried, cancellable, verified by MD5."""

import hashlib
import re
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError

from engine.data.progress import Watch
from engine.errors import DataError
from engine.files import replace

CONNECT_SECONDS, READ_SECONDS = 10, 20  # timeouts of requests.get
BACKOFF_SECONDS = (1, 3, 8)  # before each retry after a lost connection
PROGRESS_BYTES = 2**20  # an attempt that received this many bytes resets the count of retries
CHUNK_BYTES = 16 * 1024  # a third of a second at the 50 KB/s of the official server
MAX_BYTES = 256 * 2**20  # upper limit of a response; the largest archive has 170 MB
RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}


class _ConnectionLost(Exception):
    """The connection failed or ended early; retried."""


def download(url: str, target: Path, md5: str, watch: Watch) -> None:
    """Download `url` to `<target>.part`, verify its MD5 and rename it to `target`.

    Resumes an existing part if the server supports ranges. After a wrong MD5, starts over once.
    Raises DataError, or Cancelled, which keeps the part.
    """
    part = target.with_name(target.name + ".part")
    for _ in range(2):
        _fetch(url, part, watch)
        watch.tick(f"checking {target.name}")
        if file_md5(part) == md5:
            replace(part, target)
            return
        part.unlink()
    raise DataError(f"what {url} sent is not the original archive (wrong MD5, twice)")


def file_md5(path: Path) -> str:
    """MD5 of a file, as 32 hex digits: a checksum against damage, not against an attacker."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _fetch(url: str, part: Path, watch: Watch) -> None:
    """Complete `part`, over several connections if necessary."""
    retries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _fetch_once(url, part, watch)
            return
        except _ConnectionLost as lost:
            gained = (part.stat().st_size if part.exists() else 0) - before
            retries = 0 if gained >= PROGRESS_BYTES else retries + 1
            if retries > len(BACKOFF_SECONDS):
                raise DataError(f"cannot download {url} ({lost})") from lost
            wait = BACKOFF_SECONDS[max(retries, 1) - 1]
            watch.tick(f"connection lost, next try in {wait} s ({lost})")
            watch.sleep(wait)


def _fetch_once(url: str, part: Path, watch: Watch) -> None:
    received = part.stat().st_size if part.exists() else 0
    # Otherwise a server may decompress the .gz in transit.
    headers = {"Accept-Encoding": "identity"}
    if received:
        headers["Range"] = f"bytes={received}-"
    watch.tick(f"connecting to {url}")
    watch.check()
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
        ) as response:
            if response.status_code == 416:  # nothing left: complete, or of another file
                return
            if response.status_code in RETRIED_STATUS:
                raise _ConnectionLost(f"the server says {response.status_code}")
            if response.status_code not in (200, 206):
                raise DataError(f"cannot download {url} (the server says {response.status_code})")
            _save(response, part, received, watch)
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        raise _ConnectionLost(_reason(error)) from error
    except requests.RequestException as error:
        raise DataError(f"cannot download {url} ({error})") from error


def _save(response: requests.Response, part: Path, received: int, watch: Watch) -> None:
    if response.status_code == 206:
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if start is None or int(start[1]) != received:
            part.unlink()
            raise _ConnectionLost("the server resumes at the wrong place")
    else:
        received = 0  # no support for ranges: the whole file follows
    length = response.headers.get("Content-Length", "")
    total = received + int(length) if length.isdigit() else None
    message = f"downloading {part.stem}"
    with part.open("ab" if received else "wb") as file:
        for chunk in response.raw.stream(CHUNK_BYTES, decode_content=False):
            file.write(chunk)
            received += len(chunk)
            if received > MAX_BYTES:
                break
            watch.check()
            watch.tick(message, received, total, "bytes")
    if received > MAX_BYTES:
        part.unlink()
        raise DataError(f"what {response.url} sends is more than {MAX_BYTES >> 20} MB")
    if total is not None and received < total:
        raise _ConnectionLost(f"it ended after {received} of {total} bytes")


def _reason(error: Exception) -> str:
    """Short form of the nested messages of urllib3."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no response in time"
    if "IncompleteRead" in str(error):
        return "it ended early"
    return "no connection"
