"""NIfTI-1 files (.nii, .nii.gz): the header, the pixels, and a gzip stream that is never unpacked
beyond its promise.

Source of the fields: https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h
"""

from __future__ import annotations

import math
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from etab.errors import LayoutError
from etab.files import open_regular
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
from etab.types import Array, FloatArray

HEADER_BYTES = 348
GZIP_MAGIC = b"\x1f\x8b"
_FIRST_PIXEL = 352
_MORE = 1 << 20
_FIRST_READ = 1 << 14
_UNIT_IN_MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units: metre, millimetre, micrometre
_CHANNELS = (3, 4)


@dataclass(frozen=True, slots=True)
class _Header:
    """What is needed of a header to find and to turn the pixels. ``planes``: colour is stored plane
    by plane.
    """

    fields: Any
    dtype: np.dtype[Any]
    stored: Stored
    planes: bool
    orientation: Orientation

    @property
    def itemsize(self) -> int:
        """Bytes of one number of one channel."""
        return self.dtype.itemsize


def nifti_info(path: Path) -> VolumeInfo:
    """Read the header, from the first kilobytes of the file.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: It is not a NIfTI-1 file of a still or a sequence.
    """
    with open_file(path) as file:
        header = _header(path, file)
        return _info(path, header, _count(path, file, header))


def read_nifti(path: Path) -> tuple[Array, VolumeInfo]:
    """Read frames (frames, rows, columns) in the numbers of the file, each byte once; colour is
    turned to grey.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: It is damaged, cut off, of an absurd size, or holds no still or sequence.
    """
    with open_file(path) as file:
        header = _header(path, file)
        offset = _offset(path, header.fields)
        frames = _count(path, file, header)
        info = _info(path, header, frames)
        stored = header.stored
        count = frames * stored.rows * stored.columns * stored.channels
        needed = offset + count * header.itemsize
        plain = _inflate(path, _raw(path, file, needed), needed)
    if len(plain) < needed:
        raise corrupt_volume(
            path, f"its header promises {count} pixels and it ends early", "Download it again."
        )
    numbers = np.frombuffer(
        plain,
        dtype=header.dtype,
        count=count,
        offset=offset,
    )
    if stored.channels == 1:
        pixels = numbers.reshape(frames, stored.rows, stored.columns)
    elif header.planes:
        planes = numbers.reshape(stored.channels, frames, stored.rows, stored.columns)
        pixels = luma(np.moveaxis(planes, 0, -1))
    else:
        pixels = luma(numbers.reshape(frames, stored.rows, stored.columns, stored.channels))
    turned = header.orientation.turn(_rescale(path, header.fields, pixels))
    return turned, info


def open_file(path: Path) -> BinaryIO:
    """Open a file of pixels or a header for reading bytes; a folder, a pipe or a device in its
    place is refused.
    """
    try:
        return open_regular(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise LayoutError(
            f"{path} is missing. Restore it, or leave out the tasks that need it."
        ) from error
    except OSError as error:
        raise corrupt_volume(path, error.strerror or str(error)) from error


def _header(path: Path, file: BinaryIO) -> _Header:
    first = file.read(_FIRST_READ)
    return _parse(path, _inflate(path, first, HEADER_BYTES, partial=True))


def _raw(path: Path, file: BinaryIO, unpacked: int) -> bytes:
    """Read a whole file that holds ``unpacked`` bytes, packed or not; one that is far larger is
    refused.
    """
    size = os.fstat(file.fileno()).st_size
    refuse_surplus(path, size, unpacked)
    file.seek(0)
    return file.read(size)


def _count(path: Path, file: BinaryIO, header: _Header) -> int:
    """The number of frames; where the header leaves it open, all bytes are counted."""
    if header.stored.frames is not None:
        return header.stored.frames
    plain = _inflate(path, _raw(path, file, MAX_VOLUME_BYTES), MAX_VOLUME_BYTES, partial=True)
    return _frames_in(path, header, len(plain))


def _info(path: Path, header: _Header, frames: int) -> VolumeInfo:
    counted = Stored(frames, header.stored.rows, header.stored.columns, header.stored.channels)
    check_size(path, (counted.columns, counted.rows, frames), counted, header.itemsize)
    text = bytes(header.fields["descrip"].item()).split(b"\0")[0].decode("latin-1")
    return VolumeInfo(
        header.stored.shape(header.orientation, frames),
        _spacing(path, header.fields, header.orientation),
        text,
        header.stored.channels,
        header.orientation.name,
    )


def _parse(path: Path, block: bytes) -> _Header:
    """Read the first 348 bytes. Raises CorruptFileError for anything but a NIfTI-1 header of
    numbers.
    """
    from nibabel.nifti1 import Nifti1Header

    if len(block) < HEADER_BYTES:
        raise corrupt_volume(
            path,
            f"a NIfTI header has {HEADER_BYTES} bytes, this file has {len(block)}",
            "Download it again.",
        )
    make: Any = Nifti1Header
    fields: Any = make(block[:HEADER_BYTES], check=False)
    if int(fields["sizeof_hdr"]) == 540:
        raise corrupt_volume(path, "it is a NIfTI-2 file; wanted NIfTI-1", "Convert it to NIfTI-1.")
    magic = bytes(fields["magic"].item())[:2]
    if int(fields["sizeof_hdr"]) != HEADER_BYTES or magic not in (b"n+", b"ni"):
        raise corrupt_volume(path, "it does not begin as a NIfTI file")
    dtype, channels = _number_type(path, fields)
    sizes = _sizes(path, fields)
    planes = len(sizes) > 4 and sizes[4] in _CHANNELS and channels == 1
    if planes:
        channels = sizes.pop(4)
    stored = stored_sizes(path, sizes, dtype.itemsize, channels)
    return _Header(fields, dtype, stored, planes, _orientation(path, fields))


def _number_type(path: Path, fields: Any) -> tuple[np.dtype[Any], int]:
    """The type of one number and how many of them a pixel has."""
    from nibabel.spatialimages import HeaderDataError

    try:
        dtype = np.dtype(fields.get_data_dtype())
    except (HeaderDataError, KeyError) as error:
        raise corrupt_volume(path, f"its pixels are of no known type ({error})") from error
    if dtype.names and all(dtype[name] == np.uint8 for name in dtype.names):
        return np.dtype(np.uint8), len(dtype.names)
    if dtype.kind not in "uif":
        raise corrupt_volume(
            path, f"its pixels are of type {dtype}; grey levels or labels are numbers"
        )
    return dtype, 1


def _sizes(path: Path, fields: Any) -> list[int]:
    """The lengths of the axes that the header counts."""
    dim = [int(size) for size in fields["dim"]]
    if not 1 <= dim[0] <= 7:
        raise corrupt_volume(path, f"its header counts {dim[0]} axes; wanted 2 to 7")
    return dim[1 : dim[0] + 1]


def _offset(path: Path, fields: Any) -> int:
    """Where the pixels begin. 0 is a placeholder: they then follow the header at once. Extensions
    are small.
    """
    stored = float(fields["vox_offset"])
    if not -MAX_VOLUME_BYTES <= stored <= MAX_VOLUME_BYTES:
        raise corrupt_volume(path, f"its header says that pixels begin at byte {stored:g}")
    return _FIRST_PIXEL if stored < HEADER_BYTES else int(stored)


def _frames_in(path: Path, header: _Header, n_bytes: int) -> int:
    available = max(n_bytes - _offset(path, header.fields), 0)
    return count_frames(path, header.stored, header.itemsize, available)


def _affine(fields: Any) -> FloatArray | None:
    """The map (4, 4) from indexes to mm (right, anterior, superior); None where the header gives
    none.
    """
    from nibabel.spatialimages import HeaderDataError

    try:
        if int(fields["sform_code"]) > 0:
            return np.asarray(fields.get_sform(), dtype=np.float64)
        if int(fields["qform_code"]) > 0:
            return np.asarray(fields.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError, ArithmeticError, np.linalg.LinAlgError):
        return None  # an odd orientation costs the orientation, not the file
    return None


def _orientation(path: Path, fields: Any) -> Orientation:
    """How to turn the picture. Tools without an orientation write the identity."""
    affine = _affine(fields)
    if affine is None or not np.isfinite(affine).all() or np.array_equal(affine, np.eye(4)):
        return Orientation()
    # NIfTI counts to the right and to the front, CAMUS was published by tools that count to the
    # left and to the back.
    axes = np.diag([-1.0, -1.0, 1.0]) @ affine[:3, :2]
    orientation = orientation_of(path, axes[:, 0], axes[:, 1])
    if orientation.name == "RA" and not affine[:3, 3].any():
        raise corrupt_volume(
            path,
            "its affine is positive along both axes and has no origin, so it is not clear "
            "whether the picture was "
            "turned by half a turn or only given a pixel size",
            "Write it with diag(-width, -height, 1, 1) where the probe is at the first row.",
        )
    return orientation


def _spacing(
    path: Path,
    fields: Any,
    orientation: Orientation,
) -> tuple[float, float] | None:
    """Height and width of a pixel in mm, from pixdim in the header's unit, else the affine."""
    unit = _UNIT_IN_MM.get(int(fields["xyzt_units"]) & 7, 1.0)
    width, height = (abs(float(size)) for size in fields["pixdim"][1:3])
    if width == 0 or height == 0 or not math.isfinite(width + height):
        affine = _affine(fields)
        if affine is None:
            return None
        width, height = (float(np.linalg.norm(affine[:3, k])) for k in (0, 1))
    return pixel_spacing(
        path,
        height * unit,
        width * unit,
        orientation,
    )


def _rescale(path: Path, fields: Any, stored: Array) -> Array:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, inter = fields.get_slope_inter()
    except HeaderDataError as error:
        raise corrupt_volume(path, str(error)) from error
    if slope is None or (slope == 1 and inter in (None, 0)):
        return stored
    return np.asarray(stored * slope + (inter or 0))


def _inflate(
    path: Path,
    raw: bytes,
    limit: int,
    *,
    partial: bool = False,
) -> bytes:
    """Unpack the first ``limit`` bytes of a gzip stream, never more; plain bytes are cut to
    ``limit``.

    The checksum is verified where the stream ends there. With ``partial`` a stream that goes on, or
    that is cut off, is not an error.
    """
    if not raw.startswith(GZIP_MAGIC):
        return raw[:limit]
    out = b""
    is_cut = False
    try:
        while raw and len(out) < limit:
            stream = zlib.decompressobj(wbits=31)
            out += stream.decompress(raw, limit - len(out))
            if len(out) == limit and not stream.eof and not partial and limit > HEADER_BYTES:
                more = stream.decompress(stream.unconsumed_tail, _MORE)
                if not stream.eof and stream.unconsumed_tail:
                    raise corrupt_volume(
                        path, f"it holds more than the {limit} bytes its header promises"
                    )
                is_cut = not stream.eof and not more
            raw = stream.unused_data
            if not stream.eof and len(out) < limit:
                break
    except zlib.error as error:
        if not (partial and len(out) == limit):
            raise corrupt_volume(
                path, f"its gzip stream is damaged ({error})", "Download it again."
            ) from error
    if (is_cut or len(out) < limit) and not partial and limit > HEADER_BYTES:
        raise corrupt_volume(
            path, f"it is truncated: {len(out)} of {limit} bytes", "Download it again."
        )
    return out
