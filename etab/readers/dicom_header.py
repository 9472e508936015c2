"""The header of a DICOM ultrasound object. Tags by DICOM PS3.3 C.7.6.5, C.8.5.5, C.8.5.6.

Only what is needed to decode the pixels has to be right. The frame rate, the pixel spacing and the
other facts are optional: one that cannot be read is left out, and the object is still read.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from etab.errors import CorruptFileError
from etab.files import open_regular, read_file

_Fact = TypeVar("_Fact")

_MAX_SIDE = 8192
MAX_FRAMES = 100_000
_PREAMBLE_BYTES = 128
_MARK = b"DICM"
_META_GROUP = 0x0002
_FIRST_GROUPS = (_META_GROUP, 0x0008)
_LARGEST_FIRST_VALUE = 1024
_DEFLATED = "1.2.840.10008.1.2.1.99"
_IMPLICIT_LITTLE = "1.2.840.10008.1.2"
_EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
_EXPLICIT_BIG = "1.2.840.10008.1.2.2"
_CM = 3
_PLANE = 1
FOREIGN = (Exception,)
"""Errors of pydicom and its codecs for files that break the standard: they may be of any type."""


@dataclass(frozen=True, slots=True)
class Region:
    """A calibrated part of the picture.

    Args:
        x0: First column. -1, as for the other corners, where the header does not give it.
        y0: First row.
        x1: Last column.
        y1: Last row.
        data: 1 tissue, 2 colour flow, 3 pulsed and 4 continuous Doppler; 0 not known.
        plane: Whether both axes are distances.
        spacing: Height and width of a pixel in mm where the header gives centimetres, else None.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    data: int
    plane: bool
    spacing: tuple[float, float] | None

    def inside(self, rows: int, columns: int) -> bool:
        """Whether the region lies in an image of ``rows`` x ``columns`` pixels.

        A region that does not was written for another image.
        """
        return 0 <= self.x0 < self.x1 < columns and 0 <= self.y0 < self.y1 < rows


@dataclass(frozen=True, slots=True)
class DicomInfo:
    """Facts in the header of an object; ``rows`` is 0 if it holds no picture.

    ``fps`` and ``spacing`` (height and width of a pixel in mm) are None where the header does not
    give them. ``patient``, ``study`` and ``instance`` are as stored and identify people: never show
    or write them.
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


def corrupt_object(path: Path, fault: str) -> CorruptFileError:
    """Build the error of a DICOM object that cannot be read.

    Args:
        path: The file.
        fault: What is wrong with it.
    """
    return CorruptFileError(f"{path} cannot be read: {fault}. Export it again, or leave it out.")


def is_dicom(path: Path) -> bool:
    """Whether a file is a DICOM object: by the mark at byte 128, or by its first element where
    there is no preamble.
    """
    try:
        with open_regular(path) as file:
            first = file.read(_PREAMBLE_BYTES + len(_MARK))
    except OSError:
        return False
    return first[_PREAMBLE_BYTES:] == _MARK or first[:4] == _MARK or _begins_with_an_element(first)


def _dcmread(path: Path, *, pixels: bool) -> Any:
    """Read an object with pydicom, also one that a network node wrote without the preamble or
    without the mark.
    """
    from pydicom import dcmread

    with open_regular(path) as file:
        first = file.read(_PREAMBLE_BYTES + len(_MARK))
        _refuse_deflated(path, file, first)
    if first[_PREAMBLE_BYTES:] == _MARK:
        return dcmread(path, stop_before_pixels=not pixels)
    if first.startswith(_MARK):
        with_preamble = BytesIO(bytes(_PREAMBLE_BYTES) + read_file(path))
        return dcmread(with_preamble, stop_before_pixels=not pixels)
    return dcmread(path, stop_before_pixels=not pixels, force=True)


def _refuse_deflated(path: Path, file: BinaryIO, first: bytes) -> None:
    """Refuse an object that is packed as a whole, before pydicom unpacks it, whatever its size."""
    from pydicom.filereader import read_dataset

    if first[_PREAMBLE_BYTES:] != _MARK:
        file.seek(len(_MARK) if first.startswith(_MARK) else 0)
    meta = read_dataset(file, False, True, stop_when=lambda tag, _, __: tag.group != _META_GROUP)
    if str(meta.get("TransferSyntaxUID")) == _DEFLATED:
        raise corrupt_object(
            path, "it is deflated as a whole, which ultrasound systems do not do; convert it first"
        )


def _begins_with_an_element(first: bytes) -> bool:
    """Whether bytes begin as a data set does: an element of group 2 or 8, with a representation or
    a small length.
    """
    if len(first) < 12:
        return False
    for order in ("<", ">"):
        group, element = struct.unpack(f"{order}HH", first[:4])
        if group not in _FIRST_GROUPS or element > 0x1000:
            continue
        length = struct.unpack(f"{order}I", first[4:8])[0]
        is_explicit = first[4:6].isalpha() and first[4:6].isupper()
        if is_explicit or (0 < length <= _LARGEST_FIRST_VALUE and length % 2 == 0):
            return True
    return False


def read_dicom_header(path: Path, *, pixels: bool = False) -> Any:
    """Read an object with pydicom; a missing transfer syntax is filled in.

    Args:
        path: The file.
        pixels: Whether to read the pixels too.

    Raises:
        CorruptFileError: It is not a DICOM file, or the coding of its pixels is not known.
    """
    if not is_dicom(path):
        raise corrupt_object(path, "it does not begin as a DICOM file")
    header = _dcmread(path, pixels=pixels)
    if not len(header):
        # pydicom returns nothing at all where it finds no end of the pixels.
        raise corrupt_object(path, "it ends inside its pixels" if pixels else "its header is empty")
    syntax = header.file_meta.get("TransferSyntaxUID")
    if not syntax:
        syntax = _syntax_of(path, header)
        header.file_meta.TransferSyntaxUID = syntax
    return header


def _syntax_of(path: Path, header: Any) -> Any:
    """The transfer syntax of an object that does not name it: by how its elements are written."""
    from pydicom.uid import UID

    full_header = header if "PixelData" in header else _dcmread(path, pixels=True)
    if "PixelData" in full_header and full_header["PixelData"].is_undefined_length:
        raise corrupt_object(path, "it names no transfer syntax, and its pixels are coded")
    is_implicit, is_little = header.original_encoding
    if is_implicit:
        return UID(_IMPLICIT_LITTLE)
    return UID(_EXPLICIT_LITTLE if is_little else _EXPLICIT_BIG)


def parse_dicom(path: Path, header: Any) -> DicomInfo:
    """Collect the facts of a header.

    Args:
        path: The file, for messages.
        header: The object as read by pydicom.

    Raises:
        CorruptFileError: The header describes an image that no scanner makes.
    """
    rows = int(header.get("Rows") or 0)
    columns = int(header.get("Columns") or 0)
    n_frames = readable_fact(lambda: int(header.get("NumberOfFrames") or 0)) or 0
    if "Rows" in header and n_frames < 1:
        n_frames = _count_frames(path, header)
    if "Rows" in header and not (
        0 < rows <= _MAX_SIDE and 0 < columns <= _MAX_SIDE and 0 < n_frames <= MAX_FRAMES
    ):
        raise corrupt_object(
            path, f"its header claims {n_frames} frames of {columns} x {rows} pixels"
        )
    sequence = readable_fact(lambda: list(header.get("SequenceOfUltrasoundRegions") or ())) or []
    regions = tuple(_region(part) for part in sequence)
    return DicomInfo(
        max(n_frames, 1),
        rows,
        columns,
        _rate(header),
        _spacing(header, regions, rows, columns),
        regions,
        _text(header, "Modality"),
        _text(header, "PhotometricInterpretation"),
        str(header.file_meta.TransferSyntaxUID),
        _text(header, "PatientID"),
        _text(header, "StudyInstanceUID"),
        _text(header, "SOPInstanceUID"),
        f"{_text(header, 'PatientName')} {_text(header, 'ImageComments')}",
    )


def readable_fact(read: Callable[[], _Fact]) -> _Fact | None:
    """What ``read`` gives; None where the fact is written in a way that pydicom or Python cannot
    parse.
    """
    try:
        return read()
    except FOREIGN:
        return None


def _text(header: Any, name: str) -> str:
    return readable_fact(lambda: str(header.get(name, "") or "")) or ""


def _float(header: Any, name: str) -> float | None:
    return readable_fact(lambda: float(header.get(name)))


def _count_frames(path: Path, header: Any) -> int:
    """The number of frames where the header does not give it (0 is a placeholder): by the pixels. 1
    where they do not say.
    """
    if "NumberOfFrames" not in header:
        return 1
    full_header = read_dicom_header(path, pixels=True)
    if "PixelData" not in full_header:
        return 1
    if full_header.file_meta.TransferSyntaxUID.is_encapsulated:
        return _count_coded(full_header.PixelData)
    bits = int(full_header.get("BitsAllocated") or 8)
    samples = int(full_header.get("SamplesPerPixel") or 1)
    frame_bytes = int(full_header.Rows) * int(full_header.Columns) * samples * bits // 8
    if full_header.get("PhotometricInterpretation") == "YBR_FULL_422":
        frame_bytes = frame_bytes * 2 // 3
    return max(len(full_header.PixelData) // max(frame_bytes, 1), 1)


def _count_coded(data: bytes) -> int:
    """The number of coded frames: by the table of offsets, else one a fragment."""
    from pydicom.encaps import parse_basic_offsets, parse_fragments

    offsets = parse_basic_offsets(data)
    if offsets:
        return len(offsets)
    # The first item is the empty table of offsets: its tag and length take eight bytes.
    return max(parse_fragments(data[8:])[0], 1)


def _rate(header: Any) -> float | None:
    """Frames per second by the first of four tags that makes sense."""
    candidates = (
        _per_second(_float(header, "FrameTime")),
        _per_second(readable_fact(lambda: _median_time(header))),
        _float(header, "CineRate"),
        _float(header, "RecommendedDisplayFrameRate"),
    )
    for value in candidates:
        if value is not None and 0.5 <= value <= 1000:
            return value
    return None


def _median_time(header: Any) -> float | None:
    """The median of FrameTimeVector in ms, without its first number, which is 0."""
    times = [float(time) for time in header.get("FrameTimeVector") or () if time is not None]
    return float(np.median(times[1:])) if len(times) > 1 else None


def _per_second(milliseconds: float | None) -> float | None:
    return 1000 / milliseconds if milliseconds is not None and milliseconds > 0 else None


def _region(part: Any) -> Region:
    x0, y0, x1, y1 = (
        _whole_number(part, f"RegionLocation{name}", -1)
        for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")
    )
    units = [_whole_number(part, f"PhysicalUnits{axis}Direction", 0) for axis in "XY"]
    is_plane = _whole_number(part, "RegionSpatialFormat", 0) == _PLANE
    spacing = None
    if is_plane and units == [_CM, _CM]:
        height = abs(_float(part, "PhysicalDeltaY") or 0)
        width = abs(_float(part, "PhysicalDeltaX") or 0)
        spacing = _plausible(10 * height, 10 * width)
    return Region(x0, y0, x1, y1, _whole_number(part, "RegionDataType", 0), is_plane, spacing)


def _whole_number(part: Any, name: str, default: int) -> int:
    value = readable_fact(lambda: int(part.get(name)))
    return default if value is None else value


def _spacing(
    header: Any,
    regions: Sequence[Region],
    rows: int,
    columns: int,
) -> tuple[float, float] | None:
    """Millimetres a pixel: by the regions where they lie in the picture and agree, else by
    PixelSpacing.
    """
    agreed = {
        region.spacing for region in regions if region.spacing and region.inside(rows, columns)
    }
    if len(agreed) == 1:
        return next(iter(agreed))
    plain = readable_fact(lambda: [float(size) for size in header.get("PixelSpacing") or ()]) or []
    if regions or len(plain) != 2:
        return None
    return _plausible(plain[0], plain[1])


def _plausible(row: float, column: float) -> tuple[float, float] | None:
    return (row, column) if 0 < row < 10 and 0 < column < 10 else None
