"""DICOM ultrasound objects: what the header says of a recording, and grey uint8 frames, only those asked for.

Needs pydicom (``pip install "etab-bench[dicom]"``). Baseline JPEG goes through libjpeg-turbo straight to grey; JPEG 2000,
lossless JPEG, RLE and uncompressed pixels through pydicom's decoders. ``read_dicom`` hands out the picture as stored, text
and all: ``etab.datasets.dicom`` masks it before anyone sees it. Tags by DICOM PS3.3 C.7.6.5, C.8.5.5, C.8.5.6.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, LayoutError, MissingPackageError, UnsupportedOptionError
from etab.readers.codestream import picture_size
from etab.types import Array

MAX_SIDE = 8192
MAX_FRAMES = 100_000
MAX_FRAME_BYTES = 1 << 28
MAX_BYTES = 1 << 29
_BASELINE = "1.2.840.10008.1.2.4.50"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_LUMA = ("MONOCHROME1", "MONOCHROME2", "YBR_FULL", "YBR_FULL_422")
_COLOUR = ("RGB", "YBR_RCT", "YBR_ICT", "PALETTE COLOR")
_CM, _PLANE = 3, 1
_FOREIGN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Region:
    """A calibrated part of the picture: corners in pixels, (x1, y1) the last column and row in it.

    data: 1 tissue, 2 colour flow, 3 pulsed and 4 continuous Doppler. plane: whether both axes are distances.
    spacing: (row, column) in mm where the header gives centimetres, else None.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    data: int
    plane: bool
    spacing: tuple[float, float] | None

    def inside(self, rows: int, columns: int) -> bool:
        """Whether it lies in a picture of that size. One that does not was written for another: trust nothing of it."""
        return 0 <= self.x0 < self.x1 < columns and 0 <= self.y0 < self.y1 < rows


@dataclass(frozen=True, slots=True)
class DicomInfo:
    """What the header of an object says; ``rows`` is 0 where it holds no picture.

    ``fps`` and ``spacing`` (row, column; mm) are None where it does not.

    ``patient``, ``study`` and ``instance`` are as stored and identify people: never show or write them.
    """

    n_frames: int
    rows: int
    columns: int
    fps: float | None
    spacing: tuple[float, float] | None
    regions: tuple[Region, ...]
    modality: str
    photometric: str
    syntax: str
    patient: str
    study: str
    instance: str
    comment: str


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM mark at byte 128."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def dicom_info(path: Path) -> DicomInfo:
    """Read the header. Raises LayoutError where the file is absent, CorruptFileError where it is damaged or absurd,
    MissingPackageError without pydicom.
    """
    with _guarded(path):
        return _info(path, _header(path))


def read_dicom(path: Path, at: Sequence[int] | None = None) -> Array:
    """Decode grey frames (k, h, w) uint8 as stored; ``at`` holds 0-based frame numbers in any order, None is every frame.

    Grey is the luma: of YBR its first channel, of RGB and palettes 0.299 R + 0.587 G + 0.114 B. More than 8 bits are
    scaled down. Raises as ``dicom_info``, and UnsupportedOptionError for a frame beyond the end.
    """
    with _guarded(path):
        header = _header(path, pixels=True)
        info = _info(path, header)
        numbers = range(info.n_frames) if at is None else [int(i) for i in at]
        beyond = [i for i in numbers if not 0 <= i < info.n_frames]
        if beyond:
            raise UnsupportedOptionError(
                f"{path} has frames 0 to {info.n_frames - 1}; it has no frame {beyond[0]}."
            )
        _check_bytes(path, header, info)
        if len(numbers) * info.rows * info.columns > MAX_BYTES:
            raise _corrupt(
                path,
                f"{len(numbers)} frames of it are more than {MAX_BYTES >> 20} MiB; ask for fewer at once",
            )
        out = np.empty((len(numbers), info.rows, info.columns), np.uint8)
        places: dict[int, list[int]] = {}
        for place, number in enumerate(numbers):
            places.setdefault(number, []).append(place)
        wanted = sorted(places)
        for number, frame in zip(wanted, _frames(path, header, info, wanted), strict=True):
            out[places[number]] = frame
        return out


def _corrupt(path: Path, what: str) -> CorruptFileError:
    return CorruptFileError(f"{path} cannot be read: {what}. Export it again, or leave it out.")


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """What pydicom and its codecs raise becomes an error that names the file; what they warn of is tolerated."""
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f'{path} is DICOM, and pydicom is not installed: pip install "etab-bench[dicom]".'
        ) from error
    if not path.is_file():
        raise LayoutError(f"{path} is missing. Restore it, or leave out its recording.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (CorruptFileError, LayoutError, UnsupportedOptionError, MissingPackageError):
        raise
    except _FOREIGN as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        raise _corrupt(path, f"pydicom says {said[0]}") from error


def _header(path: Path, *, pixels: bool = False) -> Any:
    from pydicom import dcmread
    from pydicom.filereader import read_file_meta_info

    if not is_dicom(path):
        raise _corrupt(path, "it does not begin as a DICOM file")
    syntax = read_file_meta_info(path).get("TransferSyntaxUID")
    if syntax is None:
        raise _corrupt(path, "it names no transfer syntax")
    if str(syntax) == _DEFLATED:
        raise _corrupt(
            path, "it is deflated as a whole, which ultrasound systems do not do; convert it first"
        )
    return dcmread(path, stop_before_pixels=not pixels)


def _info(path: Path, header: Any) -> DicomInfo:
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    n = int(header.get("NumberOfFrames") or 1)
    if "Rows" in header and not (
        0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE and 0 < n <= MAX_FRAMES
    ):
        raise _corrupt(path, f"its header claims {n} frames of {columns} x {rows} pixels")
    regions = tuple(_region(part) for part in header.get("SequenceOfUltrasoundRegions") or ())
    return DicomInfo(
        n,
        rows,
        columns,
        _rate(header),
        _spacing(header, regions, rows, columns),
        regions,
        str(header.get("Modality", "")),
        str(header.get("PhotometricInterpretation", "")),
        str(header.file_meta.TransferSyntaxUID),
        str(header.get("PatientID", "") or ""),
        str(header.get("StudyInstanceUID", "") or ""),
        str(header.get("SOPInstanceUID", "") or ""),
        f"{header.get('PatientName', '')} {header.get('ImageComments', '')}",
    )


def _rate(header: Any) -> float | None:
    """Frames per second: FrameTime, FrameTimeVector, CineRate, RecommendedDisplayFrameRate, the first that makes sense."""
    times = (
        [float(t) for t in header.get("FrameTimeVector") or [] if t is not None]
        if header.get("FrameTimeVector")
        else []
    )
    candidates = [
        _per_second(header.get("FrameTime")),
        _per_second(float(np.median(times[1:])) if len(times) > 1 else None),
        header.get("CineRate"),
        header.get("RecommendedDisplayFrameRate"),
    ]
    for value in candidates:
        if value is not None and 0.5 <= float(value) <= 1000:
            return float(value)
    return None


def _per_second(milliseconds: Any) -> float | None:
    return 1000 / float(milliseconds) if milliseconds and float(milliseconds) > 0 else None


def _region(part: Any) -> Region:
    corners = (part.get(f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1"))
    x0, y0, x1, y1 = (-1 if value is None else int(value) for value in corners)
    units = part.get("PhysicalUnitsXDirection"), part.get("PhysicalUnitsYDirection")
    plane = part.get("RegionSpatialFormat") == _PLANE
    spacing = None
    if plane and units == (_CM, _CM):
        spacing = _sane(
            10 * abs(float(part.get("PhysicalDeltaY") or 0)),
            10 * abs(float(part.get("PhysicalDeltaX") or 0)),
        )
    return Region(x0, y0, x1, y1, int(part.get("RegionDataType") or 0), plane, spacing)


def _spacing(
    header: Any, regions: Sequence[Region], rows: int, columns: int
) -> tuple[float, float] | None:
    """Millimetres a pixel: by the regions where they lie in the picture and agree, else by PixelSpacing."""
    found = {
        region.spacing for region in regions if region.spacing and region.inside(rows, columns)
    }
    if len(found) == 1:
        return next(iter(found))
    plain = header.get("PixelSpacing")
    return (
        _sane(float(plain[0]), float(plain[1]))
        if not regions and plain and len(plain) == 2
        else None
    )


def _sane(row: float, column: float) -> tuple[float, float] | None:
    return (row, column) if 0 < row < 10 and 0 < column < 10 else None


def _frames(path: Path, header: Any, info: DicomInfo, numbers: Sequence[int]) -> Iterator[Array]:
    """The grey frames ``numbers`` (h, w) uint8, in that order."""
    if info.photometric not in (*_LUMA, *_COLOUR):
        raise _corrupt(
            path,
            f"its pixels are {info.photometric or 'of no named kind'}; wanted {', '.join(_LUMA + _COLOUR)}",
        )
    if header.file_meta.TransferSyntaxUID.is_encapsulated:
        for i in numbers:
            _check_codestream(path, _encapsulated(header, info, i), info, i)
    if info.syntax == _BASELINE and info.photometric in _LUMA:
        yield from (
            _inverted(info, _jpeg(path, _encapsulated(header, info, i), info, i)) for i in numbers
        )
        return
    if (
        info.photometric == "YBR_FULL_422"
        and not header.file_meta.TransferSyntaxUID.is_encapsulated
    ):
        yield from (_shared_chroma(header, info, i) for i in numbers)
        return
    yield from _decoded(path, header, info, numbers)


def _shared_chroma(header: Any, info: DicomInfo, number: int) -> Array:
    """Luma of an uncompressed frame whose chroma is shared by pairs of pixels: Y Y Cb Cr, or Y Cb Cr where not."""
    pixels = info.rows * info.columns
    whole = len(header.PixelData) >= 3 * pixels * info.n_frames
    size = (3 if whole else 2) * pixels
    stored = np.frombuffer(header.PixelData, np.uint8, size, number * size)
    return (stored.reshape(-1, 3)[:, 0] if whole else stored.reshape(-1, 4)[:, :2]).reshape(
        info.rows, info.columns
    )


def _check_bytes(path: Path, header: Any, info: DicomInfo) -> None:
    if "PixelData" not in header or not info.rows:
        raise _corrupt(path, "it holds no pixels")
    samples, bits = int(header.get("SamplesPerPixel") or 1), int(header.get("BitsAllocated") or 0)
    if samples not in (1, 3) or bits not in (8, 16):
        raise _corrupt(
            path, f"its pixels have {samples} samples of {bits} bits; wanted 1 or 3 of 8 or 16"
        )
    size = info.rows * info.columns * samples * bits // 8
    if size > MAX_FRAME_BYTES:
        raise _corrupt(path, f"its header claims frames of {size} bytes")
    encapsulated = header.file_meta.TransferSyntaxUID.is_encapsulated
    shared = 2 / 3 if info.photometric == "YBR_FULL_422" else 1
    if not encapsulated and len(header.PixelData) < int(size * shared) * info.n_frames:
        raise _corrupt(
            path,
            f"it is truncated: {len(header.PixelData)} bytes for {info.n_frames} frames of {size}",
        )


def _encapsulated(header: Any, info: DicomInfo, number: int) -> bytes:
    from pydicom.encaps import get_frame

    extended = None
    if "ExtendedOffsetTable" in header:
        extended = header.ExtendedOffsetTable, header.ExtendedOffsetTableLengths
    return bytes(
        get_frame(
            header.PixelData, number, number_of_frames=info.n_frames, extended_offsets=extended
        )
    )


def _check_codestream(path: Path, code: bytes, info: DicomInfo, number: int) -> None:
    """Refuse a frame whose own header claims another size, before a codec makes room for it."""
    size = picture_size(code)
    if size is not None and size != (info.rows, info.columns):
        raise _corrupt(
            path,
            f"frame {number} is coded as {size[1]} x {size[0]} pixels, the header says {info.columns} x {info.rows}",
        )


def _jpeg(path: Path, code: bytes, info: DicomInfo, number: int) -> Array:
    import simplejpeg

    out = np.empty((info.rows, info.columns, 1), np.uint8)
    try:
        picture = simplejpeg.decode_jpeg(code.rstrip(b"\0"), "GRAY", buffer=out)
    except ValueError as error:
        raise _corrupt(path, f"frame {number} is no sound JPEG ({error})") from error
    if picture.shape != out.shape:
        raise _corrupt(path, f"frame {number} is coded as {picture.shape[:2]} pixels")
    return out[..., 0]


def _decoded(path: Path, header: Any, info: DicomInfo, numbers: Sequence[int]) -> Iterator[Array]:
    """Frames by pydicom's decoders, to grey."""
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import iter_pixels

    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise MissingPackageError(
            f'{path} is coded as {syntax.name}; install its codec: pip install "etab-bench[dicom]".'
        )
    raw = info.photometric in _LUMA
    for frame in iter_pixels(header, indices=list(numbers), raw=raw):
        yield _grey(path, header, info, np.asarray(frame))


def _grey(path: Path, header: Any, info: DicomInfo, frame: Array) -> Array:
    """A decoded frame (h, w) or (h, w, 3) to uint8 luma (h, w)."""
    import cv2
    from pydicom.pixels.processing import apply_color_lut

    bits = int(header.get("BitsStored") or 8)
    if info.photometric == "PALETTE COLOR":
        frame = np.asarray(apply_color_lut(frame, header))
        bits = 8 * frame.dtype.itemsize
    if frame.shape[:2] != (info.rows, info.columns):
        raise _corrupt(
            path,
            f"a frame decodes to {frame.shape[:2]} pixels, the header says {(info.rows, info.columns)}",
        )
    if header.get("PixelRepresentation") and info.photometric != "PALETTE COLOR":
        frame = frame.astype(np.int32) + (1 << (bits - 1))
    eight = (
        frame.astype(np.uint8)
        if bits <= 8
        else (frame.astype(np.uint32) >> (bits - 8)).clip(0, 255).astype(np.uint8)
    )
    if eight.ndim == 2:
        return _inverted(info, eight)
    return (
        eight[..., 0]
        if info.photometric in _LUMA
        else np.asarray(cv2.cvtColor(eight, cv2.COLOR_RGB2GRAY))
    )


def _inverted(info: DicomInfo, frame: Array) -> Array:
    return 255 - frame if info.photometric == "MONOCHROME1" else frame
