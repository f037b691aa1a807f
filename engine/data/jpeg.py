"""Repair of JPEG files that lack nothing but their end marker (ITU-T T.81, annex B)."""

import io
import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

START, END = b"\xff\xd8", b"\xff\xd9"
RESTART_INTERVAL, SCAN = 0xDD, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xDA)}
_RESTART_MARKER = re.compile(rb"\xff[\xd0-\xd7]")
# Taken for image data as long as a decoder needs some, each with another effect on the pixels.
_FILLERS = [
    np.random.default_rng(seed).integers(0, 255, 64, dtype=np.uint8).tobytes() for seed in range(4)
]


def with_end_marker(content: bytes) -> bytes | None:
    """The file with its missing end marker; None if more than that is missing.

    Nothing else is missing if all scans are there with all their restart intervals, and the last
    interval decodes to the same pixels whatever follows it. Raises what Pillow raises for other
    damage.
    """
    content = content.rstrip(b"\xff")  # half of the marker
    try:
        if not content.startswith(START) or not _has_all_intervals(content):
            return None
    except (IndexError, ValueError, ZeroDivisionError, struct.error):  # damaged headers
        return None
    checksums = {_checksum(content + filler + END) for filler in _FILLERS}
    return content + END if len(checksums) == 1 else None


def _checksum(content: bytes) -> int:
    """CRC-32 of the decoded pixels."""
    with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
        return zlib.crc32(np.ascontiguousarray(image))


def _has_all_intervals(content: bytes) -> bool:
    """Whether each coefficient comes to full precision, and the last scan to its last interval."""
    frame = scan = b""
    interval = position = 0
    missing_bits: dict[tuple[int, int], int] = {}  # by (component, coefficient)
    for marker, body, end in _segments(content):
        if marker in _FRAMES:
            frame = body
        elif marker == RESTART_INTERVAL:
            (interval,) = struct.unpack(">H", body)
        elif marker == SCAN:
            scan, position = body, end
            first, last, bits = body[1 + 2 * body[0] :]
            for component in _scan_components(body):
                for coefficient in range(first, last + 1):
                    missing_bits[component, coefficient] = bits & 15
    expected = {(name, k) for name in frame[6::3] for k in range(64)}
    if not expected or expected != missing_bits.keys() or any(missing_bits.values()):
        return False
    restarts = len(_RESTART_MARKER.findall(content, position))
    return not interval or restarts == -(-_unit_count(frame, scan) // interval) - 1


def _scan_components(scan: bytes) -> bytes:
    return scan[1 : 1 + 2 * scan[0] : 2]


def _unit_count(frame: bytes, scan: bytes) -> int:
    """Number of minimum coded units (A.2) of a scan."""
    height, width = struct.unpack(">HH", frame[1:5])
    sampling = {frame[i]: (frame[i + 1] >> 4, frame[i + 1] & 15) for i in range(6, len(frame), 3)}
    across, down = (max(factors) for factors in zip(*sampling.values(), strict=True))
    if len(components := _scan_components(scan)) == 1:
        own_across, own_down = sampling[components[0]]
        width, height = -(-width * own_across // across), -(-height * own_down // down)
        across = down = 1
    return -(-width // (8 * across)) * -(-height // (8 * down))


def _segments(content: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Each (marker, body, end of the body) of a file, up to where it is cut."""
    at = len(START)
    while (at := content.find(b"\xff", at)) >= 0 and at + 4 <= len(content):
        marker = content[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0x00 or marker in _WITHOUT_LENGTH:  # within image data
            at += 2
        else:
            end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
            yield marker, content[at + 4 : end], end
            at = end
