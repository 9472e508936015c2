"""Compression of the chunks of a Zarr array, read from its metadata before a chunk is unpacked.

Codecs of numcodecs unpack to any size, and one of them (``pickle``) runs code that is stored in the
array. Only the codecs that are listed here are accepted, and at most one of them compresses.

Sources: Zarr v3 core specification, and its codecs ``sharding_indexed`` and ``crc32c``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

# Classes of codecs that keep the size of a chunk, apart from a checksum of four bytes.
_KEEP_SIZE = frozenset(
    (
        *("BytesCodec", "TransposeCodec", "Crc32cCodec"),
        *("Delta", "FixedScaleOffset", "Quantize", "BitRound", "AsType"),
    )
)
# Codecs that compress, by the names of their classes in zarr and numcodecs.
_PACKERS = {
    "ZstdCodec": "zstd",
    "Zstd": "zstd",
    "BloscCodec": "blosc",
    "Blosc": "blosc",
    "GzipCodec": "gzip",
    "GZip": "gzip",
    "Zlib": "zlib",
}
_SHARDING = "ShardingCodec"
_SUM_BYTES = 4
_ROW_BYTES = 16  # a row of the index of a shard: the offset and the size of a chunk
_NO_CHUNK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Packing:
    """Compression and layout of the chunks of an array.

    Attributes:
        codec: "zstd", "blosc", "gzip", "zlib", or "" for chunks that are not compressed.
        chunk_bytes: Number of bytes of an unpacked chunk.
        per_shard: Number of chunks in a shard, a file with an index of its chunks; 0 if each chunk
            is a file.
        index_bytes: Number of bytes of the index.
        index_first: Whether the index is at the beginning of the shard rather than at its end.
    """

    codec: str
    chunk_bytes: int
    per_shard: int = 0
    index_bytes: int = 0
    index_first: bool = False

    @staticmethod
    def of(array: Any) -> Packing:
        """Read the compression of an array from its metadata.

        Args:
            array: An array of zarr.

        Raises:
            ValueError: The values are objects, or another codec or several ones compress them.
        """
        if array.dtype.hasobject:
            raise ValueError("its values are objects, wanted numbers or texts of a fixed length")
        chunk_bytes = math.prod(map(int, array.chunks)) * int(array.dtype.itemsize)
        steps = _steps(array.metadata)
        if [_name(step) for step in steps] != [_SHARDING]:
            return Packing(_packer(steps), chunk_bytes)
        (shard,) = steps
        names = [_name(step) for step in shard.index_codecs]
        if names not in (["BytesCodec"], ["BytesCodec", "Crc32cCodec"]):
            raise ValueError(f"the index of a shard is packed by {', '.join(names)[:80]}")
        if _word(shard.index_codecs[0].endian) != "little":
            raise ValueError("the index of a shard is not in little-endian order")
        per_shard = math.prod(map(int, array.shards)) // max(1, math.prod(map(int, array.chunks)))
        return Packing(
            _packer(shard.codecs),
            chunk_bytes,
            per_shard,
            per_shard * _ROW_BYTES + _SUM_BYTES * (len(names) - 1),
            _word(shard.index_location) == "start",
        )

    def chunks(self, content: bytes) -> Iterator[bytes]:
        """Yield the compressed chunks in a file.

        A chunk that the index places outside the file is cut short here; zarr refuses to read it.

        Args:
            content: The content of a stored file of the array.

        Example:
            >>> list(Packing("zstd", 800).chunks(b"one"))
            [b'one']
        """
        if not self.per_shard:
            yield content
            return
        index = content[: self.index_bytes] if self.index_first else content[-self.index_bytes :]
        rows = index[: self.per_shard * _ROW_BYTES]
        if len(rows) < self.per_shard * _ROW_BYTES:
            return
        for start, size in np.frombuffer(rows, dtype="<u8").reshape(-1, 2).tolist():
            if start != _NO_CHUNK:
                yield content[start : start + size]


def _word(choice: Any) -> Any:
    """The word of a choice: newer versions of zarr give the text, older ones a member of an enum."""
    return getattr(choice, "value", choice)


def _steps(metadata: Any) -> list[Any]:
    """The codecs of an array, in the order in which they encode."""
    if metadata.zarr_format == 2:
        compressor = [] if metadata.compressor is None else [metadata.compressor]
        return [*(metadata.filters or ()), *compressor]
    return list(metadata.codecs)


def _packer(steps: Any) -> str:
    """The codec that compresses; "" if there is none."""
    names = [_name(step) for step in steps if _name(step) not in _KEEP_SIZE]
    if len(names) > 1 or not set(names) <= set(_PACKERS):
        known = ", ".join(dict.fromkeys(_PACKERS.values()))
        raise ValueError(f"packed by {' and '.join(names)[:80]}; wanted one of {known}")
    return _PACKERS[names[0]] if names else ""


def _name(step: Any) -> str:
    return type(step).__name__
