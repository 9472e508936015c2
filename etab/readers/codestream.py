"""The size that a coded picture claims, from its first bytes: read before a codec makes room for
it.
"""

from __future__ import annotations

import struct

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_ALONE = frozenset(range(0xD0, 0xDA)) | {0x01}
_TIFF_COLUMNS = 256
_TIFF_ROWS = 257
_TIFF_NUMBERS = {1: "B", 3: "H", 4: "I"}
_TIFF_KIND = 254
_TIFF_REDUCED = 1
_MAX_PAGES = 4096


def picture_size(code: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG, JPEG-LS, JPEG 2000, TIFF or BMP picture; None where ``code`` is
    none of them or ends too early.
    """
    if code.startswith(b"\xff\xd8"):
        return _jpeg(code)
    if code.startswith(b"BM"):
        return _bmp(code)
    if code[:4] in (b"II*\0", b"MM\0*"):
        return _tiff(code)
    start = code.find(b"jp2c") + 4 if code[4:8] == b"jP  " else 0
    if code[start : start + 4] == b"\xff\x4f\xff\x51" and len(code) >= start + 24:
        width, height, left, top = struct.unpack_from(">4I", code, start + 8)
        return height - top, width - left
    return None


def _jpeg(code: bytes) -> tuple[int, int] | None:
    offset = 2
    while offset + 9 <= len(code) and code[offset] == 0xFF:
        marker = code[offset + 1]
        if marker in _FRAMES:
            rows, columns = struct.unpack_from(">HH", code, offset + 5)
            return rows, columns
        offset += (
            1
            if marker == 0xFF
            else 2
            if marker in _ALONE
            else 2 + struct.unpack_from(">H", code, offset + 2)[0]
        )
    return None


def _bmp(code: bytes) -> tuple[int, int] | None:
    if len(code) < 26:
        return None
    if int.from_bytes(code[14:18], "little") == 12:  # the header of OS/2
        columns, rows = struct.unpack_from("<2H", code, 18)
    else:
        columns, rows = struct.unpack_from("<2i", code, 18)
    return abs(rows), columns


def _tiff(code: bytes) -> tuple[int, int] | None:
    """The size in the first directory of a TIFF; BigTIFF is not read."""
    order = "<" if code.startswith(b"II") else ">"
    at = struct.unpack_from(f"{order}I", code, 4)[0] if len(code) >= 8 else len(code)
    if at + 2 > len(code):
        return None
    found: dict[int, int] = {}
    for i in range(struct.unpack_from(f"{order}H", code, at)[0]):
        entry = code[at + 2 + 12 * i : at + 14 + 12 * i]
        if len(entry) < 12:
            return None
        tag, kind = struct.unpack_from(f"{order}2H", entry)
        if tag in (_TIFF_COLUMNS, _TIFF_ROWS):
            found[tag] = struct.unpack_from(f"{order}{_TIFF_NUMBERS.get(kind, 'I')}", entry, 8)[0]
    if len(found) < 2:
        return None
    return found[_TIFF_ROWS], found[_TIFF_COLUMNS]


def tiff_pages(code: bytes) -> int:
    """Number of pictures in a TIFF, without smaller copies of another one; 1 for other pictures."""
    if code[:4] not in (b"II*\0", b"MM\0*") or len(code) < 8:
        return 1
    order = "<" if code.startswith(b"II") else ">"
    at = struct.unpack_from(f"{order}I", code, 4)[0]
    pages = 0
    seen: set[int] = set()
    while at and at not in seen and len(seen) < _MAX_PAGES and at + 2 <= len(code):
        seen.add(at)
        count = struct.unpack_from(f"{order}H", code, at)[0]
        end = at + 2 + 12 * count
        if end + 4 > len(code):
            break
        entries = [struct.unpack_from(f"{order}HHII", code, i) for i in range(at + 2, end, 12)]
        pages += not any(
            tag == _TIFF_KIND and value & _TIFF_REDUCED for tag, _, _, value in entries
        )
        at = struct.unpack_from(f"{order}I", code, end)[0]
    return max(1, pages)
