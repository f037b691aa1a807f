"""Names of zip entries in any encoding, decoded as customary tools do."""

import struct
import zipfile
import zlib

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075  # extra field of Info-ZIP: version, CRC-32 of the header's name, UTF-8 name
LEGACY = "cp437"  # the original encoding of the format, in which each byte is a character


def raw_name(info: zipfile.ZipInfo) -> bytes:
    """The bytes of a name in the header. zipfile decodes them as UTF-8 or, without flag, cp437."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF8_FLAG else LEGACY)


def decode_name(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """The name of an entry, and whether its encoding is a guess.

    In this order: the Unicode path extra field, the UTF-8 flag, valid UTF-8 without the flag (as
    macOS, Java and most scripts write it), cp437. Other legacy encodings cannot be told from it.
    """
    raw = raw_name(info)
    name, is_guess = _unicode_path(info.extra, raw), False
    if name is None:
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            name, is_guess = raw.decode(LEGACY), True
    return name, is_guess


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """The name in the extra field 0x7075; None if it is absent, damaged or of another name."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == UNICODE_PATH and len(body) >= 5:
            version, checksum = struct.unpack("<BL", body[:5])
            if version == 1 and checksum == zlib.crc32(raw):
                try:
                    return body[5:].decode("utf-8")
                except UnicodeDecodeError:
                    return None
    return None
