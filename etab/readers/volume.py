"""NIfTI and MetaImage (.mhd) files to arrays with the probe at the top: (frames, rows, columns)."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, LayoutError
from etab.types import Array

MAX_SIDE = 8192
MAX_BYTES = 1 << 30
HEADER_BYTES = 348
GZIP_MAGIC = b"\x1f\x8b"
_MORE = 1 << 20


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """What a volume's header says: ``shape`` (frames, rows, columns), ``spacing`` (row, column) in mm, free text."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float]
    description: str = ""


@dataclass(frozen=True, slots=True)
class Volume:
    """Pixels (frames, rows, columns) in the file's own numbers, with what the header says."""

    data: Array
    info: VolumeInfo


def read_volume(path: Path) -> Volume:
    """Read a .nii, .nii.gz or .mhd file, each byte once.

    NIfTI stores (x, y[, t]) and is transposed, so that rows are depth with the probe at row 0.
    Raises LayoutError where the file is absent, CorruptFileError where it is damaged or of an absurd size.
    """
    if path.suffix == ".mhd":
        return _read_mhd(path)
    raw = _bytes(path)
    header, info = _nifti_header(path, _inflate(path, raw, HEADER_BYTES))
    dtype = header.get_data_dtype()
    offset = _offset(path, float(header["vox_offset"]))
    count = math.prod(info.shape)
    plain = _inflate(path, raw, offset + count * dtype.itemsize)
    if len(plain) < offset + count * dtype.itemsize:
        raise _corrupt(
            path, f"its header promises {count} pixels and it ends early", "Download it again."
        )
    stored = np.frombuffer(plain, dtype=dtype, count=count, offset=offset).reshape(info.shape)
    return Volume(_rescale(path, header, stored), info)


def _offset(path: Path, stored: float) -> int:
    """Where the pixels begin; extensions of a header are small."""
    if not stored <= MAX_BYTES:
        raise _corrupt(path, f"its header says that pixels begin at byte {stored:g}")
    return max(int(stored), HEADER_BYTES)


def volume_info(path: Path) -> VolumeInfo:
    """Read the header alone (the first kilobytes of a NIfTI file); raises as ``read_volume``."""
    if path.suffix == ".mhd":
        return _mhd_info(path, _mhd_fields(path))
    with _open(path) as file:
        return _nifti_header(path, _inflate(path, file.read(1 << 14), HEADER_BYTES, partial=True))[
            1
        ]


def grey(path: Path, data: Array) -> Array:
    """Turn an ultrasound volume that holds grey levels 0-255 in any number type into uint8.

    Raises CorruptFileError for values that are no grey level (NaN, negative, above 255).
    """
    if data.dtype == np.uint8:
        return data
    low, high = float(data.min()), float(data.max())
    if not (low >= 0 and high <= 255):
        raise _corrupt(path, f"its values run from {low:g} to {high:g}; grey levels are 0 to 255")
    return np.rint(data).astype(np.uint8)


def labels(path: Path, data: Array, highest: int) -> Array:
    """Turn a mask volume into uint8 labels 0..``highest``; raises CorruptFileError for any other value."""
    low, high = float(data.min()), float(data.max())
    if not (low >= 0 and high <= highest):
        raise _corrupt(path, f"its labels run from {low:g} to {high:g}; wanted 0 to {highest}")
    out = data.astype(np.uint8)
    if data.dtype.kind == "f" and not np.array_equal(out, data):
        raise _corrupt(path, "its labels are not whole numbers; was the mask interpolated?")
    return out


def _corrupt(
    path: Path, what: str, then: str = "Restore the file as published."
) -> CorruptFileError:
    return CorruptFileError(f"{path} cannot be read: {what}. {then}")


def _open(path: Path) -> Any:
    try:
        if path.exists() and not path.is_file():
            raise IsADirectoryError(path)
        return path.open("rb")
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise LayoutError(
            f"{path} is missing. Restore it, or leave out the tasks that need it."
        ) from error
    except OSError as error:
        raise _corrupt(path, str(error)) from error


def _bytes(path: Path) -> bytes:
    with _open(path) as file:
        return bytes(file.read())


def _inflate(path: Path, raw: bytes, limit: int, *, partial: bool = False) -> bytes:
    """Give the first ``limit`` plain bytes, never more; the checksum is verified where the stream ends there."""
    if not raw.startswith(GZIP_MAGIC):
        return raw[:limit]
    out, cut = b"", False
    try:
        while raw and len(out) < limit:
            stream = zlib.decompressobj(wbits=31)
            out += stream.decompress(raw, limit - len(out))
            if len(out) == limit and not stream.eof and not partial and limit > HEADER_BYTES:
                more = stream.decompress(stream.unconsumed_tail, _MORE)
                if not stream.eof and stream.unconsumed_tail:
                    raise _corrupt(
                        path, f"it holds more than the {limit} bytes its header promises"
                    )
                cut = not stream.eof and not more
            raw = stream.unused_data
            if not stream.eof and len(out) < limit:
                break
    except zlib.error as error:
        if not (partial and len(out) == limit):
            raise _corrupt(
                path, f"its gzip stream is damaged ({error})", "Download it again."
            ) from error
    if (cut or len(out) < limit) and not partial and limit > HEADER_BYTES:
        raise _corrupt(path, f"it is truncated: {len(out)} of {limit} bytes", "Download it again.")
    return out


def _nifti_header(path: Path, block: bytes) -> tuple[Any, VolumeInfo]:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.spatialimages import HeaderDataError

    if len(block) < HEADER_BYTES:
        raise _corrupt(
            path,
            f"a NIfTI header has {HEADER_BYTES} bytes, this file has {len(block)}",
            "Download it again.",
        )
    make: Any = Nifti1Header
    header: Any = make(block[:HEADER_BYTES], check=False)
    if int(header["sizeof_hdr"]) != HEADER_BYTES or bytes(header["magic"].item())[:2] not in (
        b"n+",
        b"ni",
    ):
        raise _corrupt(path, "it does not begin as a NIfTI file")
    try:
        stored = tuple(int(n) for n in header.get_data_shape())
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError) as error:
        raise _corrupt(path, f"its pixels are of no known type ({error})") from error
    if dtype.kind not in "uif":
        raise _corrupt(path, f"its pixels are of type {dtype}; grey levels or labels are numbers")
    shape = _shape(path, stored, dtype.itemsize)
    zooms = [float(z) for z in header["pixdim"][1:3]]
    text = bytes(header["descrip"].item()).split(b"\0")[0].decode("latin-1")
    return header, VolumeInfo(shape, _spacing(path, zooms[1], zooms[0]), text)


def _shape(path: Path, stored: tuple[int, ...], itemsize: int) -> tuple[int, int, int]:
    """(x, y[, 1][, t]) of a header to (t, y, x), refused where no ultrasound recording is that large."""
    rest = [n for n in stored[2:] if n != 1]
    if len(stored) < 2 or len(rest) > 1:
        raise _corrupt(
            path, f"its shape is {stored}; wanted a still (x, y) or a sequence (x, y, frames)"
        )
    shape = (rest[0] if rest else 1, stored[1], stored[0])
    size = math.prod(shape) * itemsize
    if min(shape) < 1 or max(shape[1:]) > MAX_SIDE or size > MAX_BYTES:
        raise _corrupt(
            path, f"its header claims {stored} pixels; the limit is {MAX_SIDE} a side and 1 GiB"
        )
    return shape


def _spacing(path: Path, row: float, column: float) -> tuple[float, float]:
    if not (0 < row < 100 and 0 < column < 100):
        raise _corrupt(path, f"its pixel spacing is {row:g} x {column:g} mm")
    return row, column


def _rescale(path: Path, header: Any, stored: Array) -> Array:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise _corrupt(path, str(error)) from error
    if slope is None or (slope == 1 and inter in (None, 0)):
        return stored
    return np.asarray(stored * slope + (inter or 0))


def _mhd_fields(path: Path) -> dict[str, str]:
    """Read the ``Key = value`` lines of a MetaImage header; a header is a few hundred bytes."""
    with _open(path) as file:
        text = file.read(1 << 16).decode("latin-1")
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    fields = {key.strip(): value.strip() for key, value in pairs}
    for key in ("DimSize", "ElementType", "ElementDataFile"):
        if key not in fields:
            raise _corrupt(path, f"its header has no {key}")
    return fields


_MET_BYTES = {
    "CHAR": 1,
    "UCHAR": 1,
    "SHORT": 2,
    "USHORT": 2,
    "INT": 4,
    "UINT": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
}


def _mhd_info(path: Path, fields: dict[str, str]) -> VolumeInfo:
    try:
        stored = tuple(int(n) for n in fields["DimSize"].split())
        zooms = [
            float(z) for z in fields.get("ElementSpacing", fields.get("ElementSize", "1 1")).split()
        ]
        itemsize = _MET_BYTES[fields["ElementType"].removeprefix("MET_")]
        spacing = _spacing(path, zooms[1], zooms[0])
    except (ValueError, KeyError, IndexError) as error:
        raise _corrupt(path, f"its header is not a MetaImage header ({error})") from error
    shape = _shape(path, stored, itemsize)
    named = PurePath(fields["ElementDataFile"])
    if named.is_absolute() or ".." in named.parts:
        raise _corrupt(path, f"it keeps its pixels in {named}, outside its folder")
    if fields["ElementDataFile"] != "LOCAL":
        _check_raw(path, fields, math.prod(shape) * itemsize)
    return VolumeInfo(shape, spacing, fields.get("Comment", ""))


def _check_raw(path: Path, fields: dict[str, str], wanted: int) -> None:
    """Compare the pixel file with what the header promises, before ITK prints its own view of it."""
    pixels = path.parent / fields["ElementDataFile"]
    if not pixels.is_file():
        raise LayoutError(f"{pixels} is missing; {path.name} keeps its pixels there. Restore it.")
    size = pixels.stat().st_size
    if fields.get("CompressedData", "False").lower() != "true" and size < wanted:
        raise _corrupt(pixels, f"it is truncated: {size} of {wanted} bytes", "Download it again.")


def _read_mhd(path: Path) -> Volume:
    import SimpleITK as sitk  # noqa: N813

    info = _mhd_info(path, _mhd_fields(path))
    try:
        data = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise _corrupt(path, str(error).strip().splitlines()[-1]) from error
    return Volume(np.asarray(data).reshape(info.shape), info)
