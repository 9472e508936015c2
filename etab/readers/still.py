"""PNG stills to grey arrays: every chunk is checked before anything is decoded."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etab.errors import CorruptFileError, LayoutError
from etab.files import open_regular, read_file
from etab.readers.regular import require_regular
from etab.types import Array

LARGEST_SIDE = 4096
"""Largest side in pixels of a picture that is decoded."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES = 1024
_COLOUR_TYPE = 25  # byte of a PNG
_WITH_ALPHA = 4  # bit of that byte


@dataclass(frozen=True, slots=True)
class StillInfo:
    """Facts in the header of a PNG: size in pixels, bits a channel, and text chunks by keyword."""

    height: int
    width: int
    bits: int
    text: dict[str, str]


def read_still(path: Path) -> Array:
    """Read a PNG as grey (h, w) uint8; colour is turned to grey.

    Raises LayoutError where the file is absent, CorruptFileError where it is not a PNG, ends early,
    has a chunk whose checksum differs, more than 8 bits a channel, a side above 4096 pixels, or
    pixels that are transparent and not black.
    """
    import cv2

    raw = whole_png(path)
    info = _info(path, raw)
    if info.bits > 8:
        raise CorruptFileError(
            f"{path} has {info.bits} bits a channel; wanted 8. Scale it to 0 to 255."
        )
    decoded = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_GRAYSCALE)
    # A camera may note that a picture is to be turned.
    if decoded is None or sorted(decoded.shape) != sorted((info.height, info.width)):
        raise _corrupt(path, "its pixels cannot be decoded")
    if _may_be_transparent(raw):
        stored = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_UNCHANGED)
        require_opaque(path, np.asarray(stored))
    if decoded.max() == 1:
        raise _corrupt(
            path,
            "it holds only the values 0 and 1, as a picture scaled to 0 to 1 does after rounding",
        )
    return np.asarray(decoded, dtype=np.uint8)


def _may_be_transparent(raw: bytes) -> bool:
    """Whether a PNG has a channel, or a list of colours, for transparency."""
    return bool(raw[_COLOUR_TYPE] & _WITH_ALPHA) or b"tRNS" in raw


def require_opaque(path: Path, pixels: Array) -> None:
    """Refuse a picture that is transparent where it is not black.

    What is seen there depends on what lies behind: on black, as around an ultrasound sector, it is
    not what the picture stores.

    Args:
        path: The file, for messages.
        pixels: The picture (h, w) or (h, w, c); the fourth of four channels is its opacity.

    Raises:
        CorruptFileError: There is such a pixel.
    """
    if pixels.ndim < 3 or pixels.shape[2] < 4:
        return
    opacity = pixels[..., 3]
    opaque = np.iinfo(opacity.dtype).max if opacity.dtype.kind == "u" else 1
    is_seen_through = (opacity < opaque) & pixels[..., :3].any(axis=-1)
    if is_seen_through.any():
        raise CorruptFileError(
            f"{path} has {int(is_seen_through.sum())} pixels that are transparent and not black, "
            "so their grey level is unknown. Write it without transparency."
        )


def whole_png(path: Path) -> bytes:
    """Read the bytes of a PNG of which every chunk is as it was written; raises as ``read_still``.

    Pixels have any number of bits, as those of masks do.
    """
    raw = _bytes(path, None)
    _info(path, raw)
    kinds = [kind for kind, _ in _chunks(path, raw)]
    if kinds[-1] != b"IEND":
        raise _corrupt(path, "it ends early")
    return raw


def still_info(path: Path) -> StillInfo:
    """Read the header and the text before the pixels (the first kilobyte of a PNG); raises as
    ``read_still``.
    """
    return _info(path, _bytes(path, _HEAD_BYTES))


def _bytes(path: Path, n: int | None) -> bytes:
    require_regular(path)
    try:
        if n is None:
            return read_file(path)
        with open_regular(path) as file:
            return file.read(n)
    except FileNotFoundError as error:
        raise LayoutError(f"{path} is missing. Restore it as published.") from error
    except OSError as error:
        raise CorruptFileError(
            f"{path} cannot be read: {error.strerror}. Check the disk and the permissions."
        ) from error


def _corrupt(path: Path, why: str) -> CorruptFileError:
    return CorruptFileError(f"{path} is not a whole PNG picture: {why}. Download it again.")


def _info(path: Path, raw: bytes) -> StillInfo:
    if not raw.startswith(_SIGNATURE):
        raise _corrupt(path, "it is empty" if not raw else "it does not begin like one")
    text: dict[str, str] = {}
    size: tuple[int, int, int] | None = None
    for kind, body in _chunks(path, raw, partial=True):
        if kind == b"IHDR" and len(body) == 13:
            width, height, bits = struct.unpack(">IIB", body[:9])
            size = height, width, bits
        elif kind == b"tEXt":
            key, _, value = body.decode("latin-1").partition("\0")
            text[key] = value
        elif kind == b"IDAT":
            break
    if size is None:
        raise _corrupt(path, "it ends early")
    if not (1 <= size[0] <= LARGEST_SIDE and 1 <= size[1] <= LARGEST_SIDE):
        raise _corrupt(
            path,
            f"its header claims {size[1]} x {size[0]} pixels; a still has 1 to {LARGEST_SIDE} a "
            "side",
        )
    return StillInfo(*size, text)


def _chunks(
    path: Path,
    raw: bytes,
    *,
    partial: bool = False,
) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each whole chunk, its checksum compared; with ``partial`` a cut-off one ends
    it quietly.
    """
    offset = len(_SIGNATURE)
    while offset < len(raw):
        head = raw[offset : offset + 8]
        length = int.from_bytes(head[:4], "big") if len(head) == 8 else 0
        body = raw[offset + 8 : offset + 8 + length]
        crc = raw[offset + 8 + length : offset + 12 + length]
        if len(crc) < 4:
            if partial:
                return
            raise _corrupt(path, "it ends early")
        if zlib.crc32(body, zlib.crc32(head[4:])) != int.from_bytes(crc, "big"):
            raise _corrupt(path, f"its {head[4:].decode('latin-1')} chunk has changed")
        yield head[4:], body
        if head[4:] == b"IEND":
            return
        offset += 12 + length


def is_phantom_picture(path: Path) -> bool:
    """Whether a text chunk of a picture marks it as a phantom.

    Args:
        path: A picture.

    Raises:
        CorruptFileError: The picture cannot be read.
    """
    return "phantom" in " ".join(still_info(path).text.values()).lower()
