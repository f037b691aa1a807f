"""Downloading one large file from a slow server: resumed, retried, cancellable, verified."""

import hashlib
import re
from pathlib import Path

import requests
from urllib3.exceptions import HTTPError

from engine.data.progress import Watch
from engine.errors import DataError
from engine.files import replace

CONNECT_SECONDS, READ_SECONDS = 10, 20  # without an answer, without a byte
BACKOFF_SECONDS = (1, 3, 8)  # before each further try on a connection that was cut
PROGRESS_BYTES = 2**20  # a try that got this far counts as progress: the tries start over
CHUNK_BYTES = 16 * 1024  # a third of a second at the official server's 50 KB/s
MAX_BYTES = 256 * 2**20  # the largest known archive has 170 MB; an endless answer must end
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}  # answers worth another try


class _Cut(Exception):
    """The connection failed or ended early; another try may help."""


def download(url: str, target: Path, md5: str, watch: Watch) -> None:
    """Fetch `url` to `target`, which appears only once its MD5 is right.

    Goes on from `<target>.part` where a former try ended, if the server can. A wrong MD5 throws
    the file away and starts over once. Raises DataError, or Cancelled (the part is kept).
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
    """Bring `part` to the end of the file, over as many connections as it takes."""
    tries = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _fetch_once(url, part, watch)
            return
        except _Cut as cut:
            gained = (part.stat().st_size if part.exists() else 0) - before
            tries = 0 if gained >= PROGRESS_BYTES else tries + 1
            if tries > len(BACKOFF_SECONDS):
                raise DataError(f"cannot download {url} ({cut})") from cut
            wait = BACKOFF_SECONDS[max(tries, 1) - 1]
            watch.tick(f"connection lost, next try in {wait} s ({cut})")
            watch.sleep(wait)


def _fetch_once(url: str, part: Path, watch: Watch) -> None:
    have = part.stat().st_size if part.exists() else 0
    # The bytes of the file itself: a server may otherwise unpack the .gz on the way.
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    watch.tick(f"connecting to {url}")
    watch.check()
    try:
        with requests.get(
            url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)
        ) as answer:
            if answer.status_code == 416:  # nothing after what is there: whole, or not the file
                return
            if answer.status_code in TEMPORARY:
                raise _Cut(f"the server says {answer.status_code}")
            if answer.status_code not in (200, 206):
                raise DataError(f"cannot download {url} (the server says {answer.status_code})")
            _save(answer, part, have, watch)
    except (requests.ConnectionError, requests.Timeout, HTTPError) as error:
        raise _Cut(_reason(error)) from error
    except requests.RequestException as error:
        raise DataError(f"cannot download {url} ({error})") from error


def _save(answer: requests.Response, part: Path, have: int, watch: Watch) -> None:
    if answer.status_code == 206:
        start = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        if start is None or int(start[1]) != have:
            part.unlink()
            raise _Cut("the server resumes at the wrong place")
    else:
        have = 0  # the server does not resume, and sends all of it
    length = answer.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    message = f"downloading {part.stem}"
    with part.open("ab" if have else "wb") as file:
        for chunk in answer.raw.stream(CHUNK_BYTES, decode_content=False):
            file.write(chunk)
            have += len(chunk)
            if have > MAX_BYTES:
                break
            watch.check()
            watch.tick(message, have, total, "bytes")
    if have > MAX_BYTES:
        part.unlink()
        raise DataError(f"what {answer.url} sends is more than {MAX_BYTES >> 20} MB")
    if total is not None and have < total:
        raise _Cut(f"it ended after {have} of {total} bytes")


def _reason(error: Exception) -> str:
    """A few words in place of urllib3's nested representation."""
    if isinstance(error, requests.Timeout) or "timed out" in str(error):
        return "no answer in time"
    if "IncompleteRead" in str(error):
        return "it ended early"
    return "no connection"
