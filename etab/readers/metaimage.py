"""MetaImage files (.mhd, .mha): ``Key = value`` lines, and pixels in the same file or in one beside it.

The header is read here and not by ITK, because ITK opens whatever file a header names. Pixels come
from the folder of the header or from one below it, also where links are followed.
Source of the fields: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from etab.errors import LayoutError
from etab.files import is_file
from etab.readers.geometry import (
    MAX_VOLUME_BYTES,
    Orientation,
    Stored,
    VolumeInfo,
    check_size,
    corrupt_volume,
    count_frames,
    luma,
    orientation_of,
    pixel_spacing,
    refuse_surplus,
    stored_sizes,
)
from etab.readers.nifti import open_file
from etab.types import Array

_HEADER_LIMIT = 1 << 16
_NEEDED = ("DimSize", "ElementType", "ElementDataFile")
# Spellings by which programs say that the pixels follow the header.
_IN_HEADER_FILE = ("LOCAL", "Local", "local")
_TYPES = {
    "CHAR": "i1",
    "UCHAR": "u1",
    "SHORT": "i2",
    "USHORT": "u2",
    "INT": "i4",
    "UINT": "u4",
    "LONG": "i4",
    "ULONG": "u4",
    "LONG_LONG": "i8",
    "ULONG_LONG": "u8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}


@dataclass(frozen=True, slots=True)
class _Header:
    """The fields of a header, and where its pixels lie. ``start`` is the byte of the first pixel;
    None counts from the end.
    """

    fields: Mapping[str, str]
    dtype: np.dtype[Any]
    stored: Stored
    orientation: Orientation
    pixels: Path
    start: int | None
    is_compressed: bool


def metaimage_info(path: Path) -> VolumeInfo:
    """Read the header, and of the pixels their number of bytes.

    Raises:
        LayoutError: The header or its file of pixels is absent.
        CorruptFileError: The header is not a MetaImage header, or names pixels outside its folder.
    """
    header = _parse(path)
    if not header.is_compressed or header.stored.frames is None:
        frames = _frames(path, header, _pixel_bytes(header))
    else:
        frames = header.stored.frames
    return _info(path, header, frames)


def pixel_file(path: Path) -> Path:
    """Find the file that keeps the pixels of a MetaImage header.

    Args:
        path: The header.

    Returns:
        A file in the folder of the header or below it; the header itself where pixels follow it.

    Raises:
        LayoutError: The header or its file of pixels is absent.
        CorruptFileError: The header is not a MetaImage header, or names pixels outside its folder.
    """
    fields, _ = _fields(path)
    return _pixel_file(path, fields["ElementDataFile"])


def read_metaimage(path: Path) -> tuple[Array, VolumeInfo]:
    """Read frames (frames, rows, columns) in the numbers of the file; colour is turned to grey.

    Raises:
        LayoutError: The header or its file of pixels is absent.
        CorruptFileError: Either is damaged, cut off or of an absurd size, or the header names
        pixels outside its folder.
    """
    header = _parse(path)
    plain = _payload(header)
    frames = _frames(path, header, len(plain))
    stored = header.stored
    count = frames * stored.rows * stored.columns * stored.channels
    start = 0
    if header.start is None:
        start = len(plain) - count * header.dtype.itemsize
    numbers = np.frombuffer(
        plain,
        dtype=header.dtype,
        count=count,
        offset=start,
    )
    numbers = numbers.astype(header.dtype.newbyteorder("="), copy=False)
    if stored.channels == 1:
        pixels = numbers.reshape(frames, stored.rows, stored.columns)
    else:
        pixels = luma(numbers.reshape(frames, stored.rows, stored.columns, stored.channels))
    return header.orientation.turn(pixels), _info(path, header, frames)


def _info(path: Path, header: _Header, frames: int) -> VolumeInfo:
    stored = header.stored
    counted = Stored(frames, stored.rows, stored.columns, stored.channels)
    check_size(path, (stored.columns, stored.rows, frames), counted, header.dtype.itemsize)
    return VolumeInfo(
        stored.shape(header.orientation, frames),
        _spacing(path, header.fields, header.orientation),
        header.fields.get("Comment", ""),
        stored.channels,
        header.orientation.name,
    )


def _parse(path: Path) -> _Header:
    fields, end = _fields(path)
    dtype = _number_type(path, fields)
    channels = _whole_number(path, fields, "ElementNumberOfChannels", 1)
    if channels not in (1, 3, 4):
        raise corrupt_volume(
            path, f"its pixels have {channels} channels; wanted 1 (grey), 3 or 4 (colour)"
        )
    sizes = [_to_int(path, "DimSize", word) for word in fields["DimSize"].split()]
    if _whole_number(path, fields, "NDims", len(sizes)) != len(sizes):
        raise corrupt_volume(path, f"NDims is {fields['NDims']} and DimSize {fields['DimSize']!r}")
    if not _is_true(fields, "BinaryData", default=True):
        raise corrupt_volume(
            path, "its pixels are text (BinaryData = False)", "Write them as binary data."
        )
    pixels = _pixel_file(path, fields["ElementDataFile"])
    start: int | None = end if pixels == path else 0
    skip = _whole_number(path, fields, "HeaderSize", 0)
    if skip > 0:
        start = skip
    elif skip < 0:
        start = None
    return _Header(
        fields,
        dtype,
        stored_sizes(path, sizes, dtype.itemsize, channels),
        _orientation(path, fields),
        pixels,
        start,
        _is_true(fields, "CompressedData", default=False),
    )


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """The lines up to ElementDataFile, which ends a header, and the byte after that line."""
    with open_file(path) as file:
        block = file.read(_HEADER_LIMIT)
    fields: dict[str, str] = {}
    end = 0
    for line in block.splitlines(keepends=True):
        end += len(line)
        key, equals, value = line.decode("latin-1").partition("=")
        key = key.strip()
        if not equals:
            continue
        if key in fields:
            raise corrupt_volume(path, f"its header has {key} twice")
        fields[key] = value.strip()
        if key == "ElementDataFile":
            break
    for key in _NEEDED:
        if key not in fields:
            raise corrupt_volume(path, f"its header has no {key}")
    rest = block[end:]
    if fields["ElementDataFile"] not in _IN_HEADER_FILE and re.search(
        rb"^\s*ElementDataFile\s*=", rest, re.M
    ):
        raise corrupt_volume(path, "its header has ElementDataFile twice")
    return fields, end


def _pixel_file(path: Path, name: str) -> Path:
    """The file of pixels that a header names. Raises CorruptFileError where it is not inside the
    header's folder.
    """
    if name in _IN_HEADER_FILE:
        return path
    posix = PurePosixPath(name.replace("\\", "/"))
    if posix.is_absolute() or ".." in posix.parts or re.match(r"[A-Za-z]:", name):
        raise corrupt_volume(path, f"it keeps its pixels in {name}, outside its folder")
    if name.split()[:1] == ["LIST"] or "%" in name:
        raise corrupt_volume(
            path,
            f"it keeps its pixels in several files (ElementDataFile = {name})",
            "Write them into one file.",
        )
    pixels = path.parent / posix
    if not is_file(pixels):
        raise LayoutError(f"{pixels} is missing; {path.name} keeps its pixels there. Restore it.")
    # A link inside the folder may still lead out of it.
    homes = (path.parent.resolve(), path.resolve().parent)
    if not any(pixels.resolve().is_relative_to(home) for home in homes):
        raise corrupt_volume(
            path,
            f"{name} is a link to {pixels.resolve()}, outside its folder",
            "Copy the pixels beside the header.",
        )
    return pixels


def _pixel_bytes(header: _Header) -> int:
    """How many bytes of pixels there are, unpacked."""
    if header.is_compressed:
        return len(_payload(header))
    return _stored_bytes(header)


def _stored_bytes(header: _Header) -> int:
    """How many bytes of pixels the file holds."""
    size = header.pixels.stat().st_size
    return max(size - (header.start or 0), 0)


def _payload(header: _Header) -> bytes:
    """The bytes of the pixels, unpacked; at most as many as the largest recording has."""
    # Where the pixels end the file, a header of any length may precede them.
    promised = _promised(header) if header.start is not None else 0
    n_bytes = _stored_bytes(header)
    refuse_surplus(header.pixels, n_bytes, promised or MAX_VOLUME_BYTES)
    with open_file(header.pixels) as file:
        file.seek(min(header.start or 0, header.pixels.stat().st_size))
        raw = bytes(file.read(n_bytes))
    if not header.is_compressed:
        return raw
    limit = _promised(header) or MAX_VOLUME_BYTES
    try:
        # 47 accepts zlib and gzip streams alike.
        stream = zlib.decompressobj(wbits=47)
        plain = stream.decompress(raw, limit)
    except zlib.error as error:
        raise corrupt_volume(
            header.pixels, f"its compressed pixels are damaged ({error})", "Download it again."
        ) from error
    if not stream.eof:
        # One more byte proves that there is more; reading on to the end checks the checksum.
        try:
            more = stream.decompress(stream.unconsumed_tail, 1)
        except zlib.error as error:
            raise corrupt_volume(
                header.pixels, f"its compressed pixels are damaged ({error})", "Download it again."
            ) from error
        if more:
            raise corrupt_volume(
                header.pixels, f"it holds more than the {limit} bytes its header promises"
            )
        if not stream.eof:
            raise corrupt_volume(
                header.pixels,
                "it is truncated: its compressed pixels end early",
                "Download it again.",
            )
    return plain


def _promised(header: _Header) -> int:
    """Bytes of the pixels by the header; 0 where it leaves the number of frames open."""
    stored = header.stored
    return (
        (stored.frames or 0)
        * stored.rows
        * stored.columns
        * stored.channels
        * header.dtype.itemsize
    )


def _frames(path: Path, header: _Header, n_bytes: int) -> int:
    promised = _promised(header)
    if n_bytes < promised:
        raise corrupt_volume(
            header.pixels, f"it is truncated: {n_bytes} of {promised} bytes", "Download it again."
        )
    return count_frames(path, header.stored, header.dtype.itemsize, n_bytes)


def _number_type(path: Path, fields: Mapping[str, str]) -> np.dtype[Any]:
    name = fields["ElementType"]
    code = _TYPES.get(name.removeprefix("MET_"))
    if code is None:
        known = ", ".join(f"MET_{key}" for key in _TYPES)
        raise corrupt_volume(
            path,
            f"its header is not a MetaImage header: ElementType is {name}; wanted one of {known}",
        )
    big = _is_true(fields, "BinaryDataByteOrderMSB", default=False)
    big = _is_true(fields, "ElementByteOrderMSB", default=big)
    return np.dtype(code).newbyteorder(">" if big else "<")


def _is_true(
    fields: Mapping[str, str],
    key: str,
    *,
    default: bool,
) -> bool:
    """Whether a switch is on: MetaIO takes "True", "true", "T" and 1."""
    value = fields.get(key, "")
    return value[:1].lower() in ("t", "1") if value else default


def _whole_number(
    path: Path,
    fields: Mapping[str, str],
    key: str,
    default: int,
) -> int:
    return _to_int(path, key, fields[key]) if fields.get(key) else default


def _to_int(path: Path, key: str, word: str) -> int:
    try:
        return int(word)
    except ValueError as error:
        raise corrupt_volume(
            path, f"its header is not a MetaImage header ({key} is {word!r})"
        ) from error


def _numbers(fields: Mapping[str, str], *keys: str) -> list[float]:
    """The numbers of the first of ``keys`` that the header has; none where they do not parse."""
    text = next((fields[key] for key in keys if fields.get(key)), "")
    try:
        return [float(word) for word in text.split()]
    except ValueError:
        return []  # an odd value costs this fact, not the file


def _spacing(
    path: Path,
    fields: Mapping[str, str],
    orientation: Orientation,
) -> tuple[float, float] | None:
    sizes = _numbers(fields, "ElementSpacing", "ElementSize")
    if len(sizes) < 2:
        return None
    return pixel_spacing(path, sizes[1], sizes[0], orientation)


def _orientation(path: Path, fields: Mapping[str, str]) -> Orientation:
    """How to turn the picture. Each row of the matrix is the direction of one stored axis."""
    matrix = _numbers(fields, "TransformMatrix", "Rotation", "Orientation")
    side = round(len(matrix) ** 0.5)
    if side < 2 or side * side != len(matrix):
        return Orientation()
    rows = np.zeros((2, 3))
    rows[:, : min(side, 3)] = np.reshape(matrix, (side, side))[:2, :3]
    if not np.isfinite(rows).all():
        return Orientation()
    return orientation_of(path, rows[0], rows[1])
