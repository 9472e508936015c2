"""DICOM ultrasound objects to grey uint8 frames, decoding only the frames asked for.

Needs pydicom (``pip install "etab-bench[dicom]"``). Baseline JPEG goes through libjpeg-turbo
straight to grey; JPEG 2000, lossless JPEG, RLE and uncompressed pixels go through pydicom's
decoders. ``read_dicom`` returns the picture as stored, with the text in it: ``etab.datasets.dicom``
masks it before it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, LayoutError, MissingPackageError, UnsupportedOptionError
from etab.readers.codestream import picture_size
from etab.readers.dicom_header import (
    FOREIGN,
    DicomInfo,
    Region,
    corrupt_object,
    is_dicom,
    parse_dicom,
    read_dicom_header,
    readable_fact,
)
from etab.types import Array

__all__ = ["DicomInfo", "Region", "dicom_info", "is_dicom", "read_dicom"]

_MAX_FRAME_BYTES = 1 << 28
_MAX_BYTES = 1 << 29
_BASELINE = "1.2.840.10008.1.2.4.50"
_LUMA = ("MONOCHROME1", "MONOCHROME2", "YBR_FULL", "YBR_FULL_422")
_COLOUR = ("RGB", "YBR_RCT", "YBR_ICT", "PALETTE COLOR")
_FEWEST_LEVELS = 16


def dicom_info(path: Path) -> DicomInfo:
    """Read the header. Raises LayoutError where the file is absent, CorruptFileError where it is
    damaged or absurd, MissingPackageError without pydicom.
    """
    with _guarded(path):
        return parse_dicom(path, read_dicom_header(path))


def read_dicom(path: Path, at: Sequence[int] | None = None) -> Array:
    """Decode frames of a DICOM object as stored.

    Grey is the luma: the first channel of YBR, and 0.299 R + 0.587 G + 0.114 B of RGB and
    palettes. Pixels of more than 8 bits are scaled down.

    Args:
        path: The file.
        at: k frame numbers, from 0, in any order; None for all frames.

    Returns:
        Grey frames (k, h, w) uint8.

    Raises:
        LayoutError: There is no such file.
        CorruptFileError: The file cannot be read.
        UnsupportedOptionError: A frame does not exist.
    """
    with _guarded(path):
        header = read_dicom_header(path, pixels=True)
        info = parse_dicom(path, header)
        if "NumberOfFrames" in header:
            header.NumberOfFrames = (
                info.n_frames
            )  # pydicom's decoders read it too, and it may not parse
        numbers = range(info.n_frames) if at is None else [int(i) for i in at]
        beyond = [i for i in numbers if not 0 <= i < info.n_frames]
        if beyond:
            raise UnsupportedOptionError(
                f"{path} has frames 0 to {info.n_frames - 1}; it has no frame {beyond[0]}."
            )
        _check_bytes(path, header, info)
        if len(numbers) * info.rows * info.columns > _MAX_BYTES:
            raise corrupt_object(
                path,
                f"{len(numbers)} frames of it are more than {_MAX_BYTES >> 20} MiB; ask for fewer "
                "at once",
            )
        out = np.empty((len(numbers), info.rows, info.columns), np.uint8)
        places: dict[int, list[int]] = {}
        for position, number in enumerate(numbers):
            places.setdefault(number, []).append(position)
        distinct = sorted(places)
        for number, frame in zip(distinct, _frames(path, header, info, distinct), strict=True):
            out[places[number]] = frame
        return out


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """What pydicom and its codecs raise becomes an error that names the file; what they warn of is
    tolerated.
    """
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
    except FOREIGN as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise corrupt_object(path, f"pydicom says {lines[0]}") from error


def _frames(
    path: Path,
    header: Any,
    info: DicomInfo,
    numbers: Sequence[int],
) -> Iterator[Array]:
    """The grey frames ``numbers`` (h, w) uint8, in that order."""
    if info.photometric not in (*_LUMA, *_COLOUR):
        raise corrupt_object(
            path,
            f"its pixels are {info.photometric or 'of no named kind'}; wanted "
            f"{', '.join(_LUMA + _COLOUR)}",
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


def _shared_chroma(
    header: Any,
    info: DicomInfo,
    number: int,
) -> Array:
    """Luma of an uncompressed frame whose chroma is shared by pairs of pixels: Y Y Cb Cr, or Y Cb
    Cr where not.
    """
    pixels = info.rows * info.columns
    full_chroma = len(header.PixelData) >= 3 * pixels * info.n_frames
    size = (3 if full_chroma else 2) * pixels
    stored = np.frombuffer(header.PixelData, np.uint8, size, number * size)
    return (stored.reshape(-1, 3)[:, 0] if full_chroma else stored.reshape(-1, 4)[:, :2]).reshape(
        info.rows, info.columns
    )


def _check_bytes(path: Path, header: Any, info: DicomInfo) -> None:
    for name in ("FloatPixelData", "DoubleFloatPixelData"):
        if name in header:
            raise corrupt_object(
                path, f"its pixels are fractions ({name}); wanted whole numbers of 8 or 16 bits"
            )
    if "PixelData" not in header or not info.rows:
        raise corrupt_object(path, "it holds no pixels")
    samples = int(header.get("SamplesPerPixel") or 1)
    bits = int(header.get("BitsAllocated") or 0)
    if samples not in (1, 3) or bits not in (8, 16):
        raise corrupt_object(
            path, f"its pixels have {samples} samples of {bits} bits; wanted 1 or 3 of 8 or 16"
        )
    size = info.rows * info.columns * samples * bits // 8
    if size > _MAX_FRAME_BYTES:
        raise corrupt_object(path, f"its header claims frames of {size} bytes")
    encapsulated = header.file_meta.TransferSyntaxUID.is_encapsulated
    shared = 2 / 3 if info.photometric == "YBR_FULL_422" else 1
    if not encapsulated and len(header.PixelData) < int(size * shared) * info.n_frames:
        raise corrupt_object(
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
            header.PixelData,
            number,
            number_of_frames=info.n_frames,
            extended_offsets=extended,
        )
    )


def _check_codestream(
    path: Path,
    code: bytes,
    info: DicomInfo,
    number: int,
) -> None:
    """Refuse a frame whose own header claims another size, before a codec makes room for it."""
    size = picture_size(code)
    if size is not None and size != (info.rows, info.columns):
        raise corrupt_object(
            path,
            f"frame {number} is coded as {size[1]} x {size[0]} pixels, the header says "
            f"{info.columns} x {info.rows}",
        )


def _jpeg(
    path: Path,
    code: bytes,
    info: DicomInfo,
    number: int,
) -> Array:
    import simplejpeg

    out = np.empty((info.rows, info.columns, 1), np.uint8)
    try:
        picture = simplejpeg.decode_jpeg(code.rstrip(b"\0"), "GRAY", buffer=out)
    except ValueError as error:
        raise corrupt_object(path, f"frame {number} is not a valid JPEG ({error})") from error
    if picture.shape != out.shape:
        raise corrupt_object(path, f"frame {number} is coded as {picture.shape[:2]} pixels")
    return out[..., 0]


def _decoded(
    path: Path,
    header: Any,
    info: DicomInfo,
    numbers: Sequence[int],
) -> Iterator[Array]:
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


def _grey(
    path: Path,
    header: Any,
    info: DicomInfo,
    frame: Array,
) -> Array:
    """A decoded frame (h, w) or (h, w, 3) to uint8 luma (h, w)."""
    import cv2
    from pydicom.pixels.processing import apply_color_lut

    bits = int(header.get("BitsStored") or 8)
    if info.photometric == "PALETTE COLOR":
        frame = np.asarray(apply_color_lut(frame, header))
        bits = 8 * frame.dtype.itemsize
    if frame.shape[:2] != (info.rows, info.columns):
        raise corrupt_object(
            path,
            f"a frame decodes to {frame.shape[:2]} pixels, the header says "
            f"{(info.rows, info.columns)}",
        )
    if header.get("PixelRepresentation") and info.photometric != "PALETTE COLOR":
        frame = frame.astype(np.int32) + (1 << (bits - 1))
    eight = _eight_bits(path, header, frame, bits)
    if eight.ndim == 2:
        return _inverted(info, eight)
    return (
        eight[..., 0]
        if info.photometric in _LUMA
        else np.asarray(cv2.cvtColor(eight, cv2.COLOR_RGB2GRAY))
    )


def _eight_bits(
    path: Path,
    header: Any,
    frame: Array,
    bits: int,
) -> Array:
    """Scale grey levels of ``bits`` bits to uint8: by the header's window where it has one, else by
    the range of the bits.

    Raises CorruptFileError where a picture without a window would be left with a few levels.
    """
    if bits == 8:
        return frame.astype(np.uint8)
    white = (1 << bits) - 1
    if bits < 8:
        return np.asarray(np.rint(frame.clip(0, white) * (255 / white)).astype(np.uint8))
    window = readable_fact(lambda: _window(header)) if frame.ndim == 2 else None
    if window is not None:
        centre, width = window
        # DICOM PS3.3 C.11.2.1.2.1, the linear function.
        scaled = ((frame - (centre - 0.5)) / (width - 1) + 0.5) * 255
        return np.asarray(np.rint(scaled.clip(0, 255)).astype(np.uint8))
    if 0 < int(frame.max()) < _FEWEST_LEVELS << (bits - 8):
        raise corrupt_object(
            path,
            f"its grey levels reach {int(frame.max())} of {white}, and no window says which of "
            "them is white",
        )
    return np.asarray((frame.astype(np.uint32) >> (bits - 8)).clip(0, 255).astype(np.uint8))


def _window(header: Any) -> tuple[float, float] | None:
    """The first window (centre, width) of a header; None where it has none that applies to the
    stored numbers.
    """
    if "VOILUTSequence" in header or "ModalityLUTSequence" in header:
        return None
    slope = float(header.get("RescaleSlope") or 1)
    intercept = float(header.get("RescaleIntercept") or 0)
    if header.get("PixelRepresentation") or slope != 1 or intercept != 0:
        return None
    centre = _first_number(header.get("WindowCenter"))
    width = _first_number(header.get("WindowWidth"))
    if centre is None or width is None or width <= 1:
        return None
    return centre, width


def _first_number(value: Any) -> float | None:
    """The number of an element, or the first of its numbers."""
    if value is None:
        return None
    if isinstance(value, (int, float, str)):
        return float(value)
    return float(value[0]) if len(value) else None


def _inverted(info: DicomInfo, frame: Array) -> Array:
    return 255 - frame if info.photometric == "MONOCHROME1" else frame
