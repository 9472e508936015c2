"""The size that a coded picture claims, from its first bytes: read before a codec makes room for
it.
"""

from __future__ import annotations

import struct

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
_ALONE = frozenset(range(0xD0, 0xDA)) | {0x01}


def picture_size(code: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG, JPEG-LS or JPEG 2000 picture; None where ``code`` is none of them
    or ends too early.
    """
    if code.startswith(b"\xff\xd8"):
        return _jpeg(code)
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
