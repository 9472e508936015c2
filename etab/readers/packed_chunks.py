"""The unpacked size of a compressed chunk of an array, found before a codec allocates memory for it.

Sources: Zstandard, RFC 8878, section 3.1.1.1; Blosc, README_CHUNK_FORMAT.rst; gzip, RFC 1952.
"""

from __future__ import annotations

import zlib

_ZSTD_MARK = b"\x28\xb5\x2f\xfd"
_ZSTD_ID_BYTES = (0, 1, 2, 4)  # width of the field "dictionary ID", by its flag
_ZSTD_SIZE_BYTES = (0, 2, 4, 8)  # width of the field "frame content size", by its flag
_BLOSC_HEAD = 16
_GZIP_OR_ZLIB = 47  # largest window (15), and detect the header of gzip or zlib (+ 32)
UNKNOWN = 1 << 62
"""Size of a chunk whose header does not state it."""


def unpacked_size(packed: bytes, codec: str, limit: int) -> int:
    """Compute the number of bytes that a compressed chunk unpacks to.

    Args:
        packed: The chunk.
        codec: Name of its codec in lower case, such as "zstd".
        limit: Number of bytes at which counting stops.

    Returns:
        The number of bytes. It is larger than ``limit`` if counting stopped, ``UNKNOWN`` if the
        chunk does not state it, and 0 for a codec that is not in this module.

    Example:
        >>> unpacked_size(zlib.compress(bytes(5000)), "zlib", 1 << 20)
        5000
        >>> unpacked_size(bytes([2, 1, 0, 1, 16, 39, 0, 0]) + bytes(8), "blosc", 1 << 20)
        10000
    """
    if codec == "zstd":
        return _zstd(packed)
    if codec == "blosc":
        return int.from_bytes(packed[4:8], "little") if len(packed) >= _BLOSC_HEAD else 0
    if codec in ("gzip", "zlib"):
        return _inflated(packed, limit)
    return 0


def _zstd(packed: bytes) -> int:
    """The size of the content of a frame, from its header."""
    if len(packed) < 6 or not packed.startswith(_ZSTD_MARK):
        return 0  # the codec refuses it
    flags = packed[4]
    is_single = flags >> 5 & 1
    n_bytes = _ZSTD_SIZE_BYTES[flags >> 6] or is_single
    if not n_bytes:
        return UNKNOWN
    start = 5 + (not is_single) + _ZSTD_ID_BYTES[flags & 3]
    size = int.from_bytes(packed[start : start + n_bytes], "little")
    return size + 256 if n_bytes == 2 else size


def _inflated(packed: bytes, limit: int) -> int:
    total = 0
    while packed and total <= limit:
        stream = zlib.decompressobj(wbits=_GZIP_OR_ZLIB)
        try:
            total += len(stream.decompress(packed, limit + 1 - total))
        except zlib.error:
            return total  # the codec refuses it
        packed = stream.unused_data if stream.eof else b""
    return total
