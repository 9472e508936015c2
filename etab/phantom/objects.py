"""Writes phantom cines as DICOM objects, as the releases that consist of such objects hold them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import MissingPackageError
from etab.phantom.anatomy import Heart
from etab.phantom.sector import DEPTH, draw_scanner, frame
from etab.phantom.trees import MARK, beat_contractions
from etab.types import Array

SIDE = 96
_WIDTH = 128
_FRAMES = 10
_BEAT = 10  # frames
_FPS = 20.0
_MM = DEPTH / SIDE
_UID = "1.2.826.0.1.3680043.8.498"
_CENTIMETRES = 3
_VIEW_NUMBERS = {"A2C": 0, "A4C": 1}


@dataclass(frozen=True, slots=True)
class ObjectNames:
    """The identifiers of an object.

    Attributes:
        patient: The number of the patient, as the release writes it.
        study: A number that is the study's own.
        number: The number of the object in its study, from 1.
    """

    patient: str
    study: int
    number: int


def apical_frames(
    heart: Heart,
    view: str,
    rng: np.random.Generator,
    count: int = _FRAMES,
) -> list[Array]:
    """Draw the frames of a beat in an apical view, in a wide picture with text beside the sector.

    Args:
        heart: The patient's heart.
        view: "A2C" or "A4C".
        rng: The source of randomness.
        count: The number of frames.

    Returns:
        (96, 128) uint8 each.
    """
    scanner = draw_scanner(rng)
    frames = []
    for contraction in beat_contractions(count, _BEAT, 0):
        shape = heart.shape(_VIEW_NUMBERS[view], contraction)
        frames.append(on_screen(frame(shape, scanner, SIDE, rng)))
    return frames


def on_screen(picture: Array) -> Array:
    """Place a square picture on a wider screen with a line of text.

    Args:
        picture: (96, 96) uint8.

    Returns:
        (96, 128) uint8.
    """
    import cv2

    screen = np.zeros((SIDE, _WIDTH), np.uint8)
    left = (_WIDTH - SIDE) // 2
    screen[:, left : left + SIDE] = picture
    cv2.putText(screen, MARK, (1, 93), cv2.FONT_HERSHEY_SIMPLEX, 0.25, 200, 1)
    return screen


def write_object(
    path: Path,
    frames: Sequence[Array],
    names: ObjectNames,
) -> None:
    """Write a cine as an ultrasound object: JPEG Baseline, with a calibrated region.

    Args:
        path: The file to write.
        frames: (h, w) uint8 each.
        names: The identifiers.

    Raises:
        MissingPackageError: pydicom is not installed.
    """
    try:
        from pydicom import dcmwrite
        from pydicom.dataset import FileDataset, FileMetaDataset
        from pydicom.uid import JPEGBaseline8Bit, UltrasoundMultiFrameImageStorage
    except ImportError as error:
        raise MissingPackageError(
            'DICOM phantoms need pydicom: pip install "etab-bench[dicom]".'
        ) from error
    meta: Any = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.MediaStorageSOPInstanceUID = f"{_UID}.{names.study}.{names.number}"
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    item: Any = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    item.SOPClassUID = meta.MediaStorageSOPClassUID
    item.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    item.Modality = "US"
    item.PatientID = names.patient
    item.StudyInstanceUID = f"{_UID}.{names.study}"
    item.ImageComments = MARK
    item.FrameTime = f"{1000 / _FPS:g}"
    item.SequenceOfUltrasoundRegions = [_region()]
    _fill(item, frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    dcmwrite(path, item, enforce_file_format=True)


def _region() -> Any:
    """Describe the square picture on the screen: 2-D tissue, calibrated in centimetres."""
    from pydicom.dataset import Dataset

    left = (_WIDTH - SIDE) // 2
    part: Any = Dataset()
    part.RegionLocationMinX0 = left
    part.RegionLocationMinY0 = 0
    part.RegionLocationMaxX1 = left + SIDE - 1
    part.RegionLocationMaxY1 = SIDE - 1
    part.RegionSpatialFormat = 1
    part.RegionDataType = 1
    part.PhysicalUnitsXDirection = _CENTIMETRES
    part.PhysicalUnitsYDirection = _CENTIMETRES
    part.PhysicalDeltaX = _MM / 10
    part.PhysicalDeltaY = _MM / 10
    return part


def _fill(item: Any, frames: Sequence[Array]) -> None:
    """Put the frames into an object as JPEG pictures in YBR_FULL_422."""
    import cv2
    from pydicom.encaps import encapsulate

    item.NumberOfFrames = len(frames)
    item.Rows, item.Columns = frames[0].shape
    item.SamplesPerPixel = 3
    item.PlanarConfiguration = 0
    item.BitsAllocated = 8
    item.BitsStored = 8
    item.HighBit = 7
    item.PixelRepresentation = 0
    item.PhotometricInterpretation = "YBR_FULL_422"
    coded = []
    for picture in frames:
        colour = cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR)
        coded.append(cv2.imencode(".jpg", colour)[1].tobytes())
    item.PixelData = encapsulate(coded)
