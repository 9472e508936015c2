"""Writes ultrasound objects as DICOM: a moving sector with text around it, in the syntaxes that scanners write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    UltrasoundImageStorage,
    UltrasoundMultiFrameImageStorage,
)

ROWS, COLUMNS, N = 96, 128, 6
BOX = (16, 90, 24, 104)  # top, bottom, left, right of the sector
NAME = "PHANTOM^MADE"


def inside() -> np.ndarray:
    """The sector: a triangle with its apex at the top."""
    mask = np.zeros((ROWS, COLUMNS), np.uint8)
    corners = [[64, BOX[0]], [BOX[2], BOX[1] - 1], [BOX[3] - 1, BOX[1] - 1]]
    cv2.fillConvexPoly(mask, np.array(corners, np.int32), 1)
    return mask > 0


def grey(seed: int, n: int = N) -> np.ndarray:
    """Frames (n, h, w): speckle that moves inside the sector; a name, a logo and a bar that do not, outside it."""
    rng = np.random.default_rng(seed)
    speckle = cv2.GaussianBlur(
        rng.integers(30, 255, (ROWS + 4 * n, COLUMNS)).astype(np.uint8), (0, 0), 1.2
    )
    out = []
    for k in range(n):
        picture = np.where(inside(), speckle[4 * k : 4 * k + ROWS], 0).astype(np.uint8)
        cv2.putText(picture, "DOE JOHN", (2, 10), cv2.FONT_HERSHEY_SIMPLEX, 0.35, 255, 1)
        picture[92:95, 2:126] = 200
        picture[40:60, 118:126] = 90
        out.append(picture)
    return np.stack(out)


def colour(seed: int, n: int = N) -> np.ndarray:
    """The same in RGB, red where colour flow would be."""
    frames = np.repeat(grey(seed, n)[..., None], 3, 3)
    frames[:, 50:60, 60:70] = (220, 30, 40)
    return frames


def region(
    box: tuple[int, int, int, int] = BOX, *, data: int = 1, plane: int = 1, mm: float = 0.5
) -> Dataset:
    part = Dataset()
    part.RegionLocationMinY0, part.RegionLocationMaxY1 = box[0], box[1] - 1
    part.RegionLocationMinX0, part.RegionLocationMaxX1 = box[2], box[3] - 1
    part.RegionDataType, part.RegionSpatialFormat = data, plane
    part.PhysicalUnitsXDirection = part.PhysicalUnitsYDirection = 3
    part.PhysicalDeltaX, part.PhysicalDeltaY = mm / 10, 2 * mm / 10
    return part


def new(patient: str, study: int, number: int, n: int) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = (
        UltrasoundMultiFrameImageStorage if n > 1 else UltrasoundImageStorage
    )
    meta.MediaStorageSOPInstanceUID = f"1.2.826.0.1.3680043.8.498.{study}.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
    )
    ds.Modality, ds.PatientID, ds.PatientName = "US", patient, NAME
    ds.StudyInstanceUID, ds.ImageComments = f"1.2.826.0.1.3680043.8.498.{study}", "phantom"
    if n > 1:
        ds.NumberOfFrames, ds.FrameTime = n, "20.0"
    return ds


def fill(ds: FileDataset, pixels: np.ndarray, photometric: str, **facts: Any) -> FileDataset:
    """Put uncompressed pixels (n, h, w[, 3]) in, with the tags that say what they are."""
    bits = 8 * pixels.dtype.itemsize
    ds.Rows, ds.Columns = pixels.shape[1:3]
    ds.SamplesPerPixel = pixels.shape[3] if pixels.ndim == 4 else 1
    ds.BitsAllocated = ds.BitsStored = bits
    ds.HighBit, ds.PixelRepresentation, ds.PhotometricInterpretation = bits - 1, 0, photometric
    if ds.SamplesPerPixel == 3:
        ds.PlanarConfiguration = 0
    ds.PixelData = pixels.tobytes()
    for key, value in facts.items():
        setattr(ds, key, value)
    return ds


def ybr(rgb: np.ndarray) -> np.ndarray:
    flat = cv2.cvtColor(rgb.reshape(-1, 1, 3), cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    return np.ascontiguousarray(flat.reshape(rgb.shape))


def jpegs(frames: np.ndarray) -> list[bytes]:
    return [cv2.imencode(".jpg", f[..., ::-1] if f.ndim == 3 else f)[1].tobytes() for f in frames]


def kind(
    name: str, seed: int = 1, n: int = N, patient: str = "1", study: int = 1, number: int = 1
) -> FileDataset:
    """One object of a named kind."""
    ds = new(patient, study, number, n)
    rgb, mono = colour(seed, n), grey(seed, n)
    if name == "rgb":
        return fill(ds, rgb, "RGB")
    if name == "rgb_planar":
        return fill(
            ds,
            np.ascontiguousarray(rgb.transpose(0, 3, 1, 2)).reshape(rgb.shape),
            "RGB",
            PlanarConfiguration=1,
        )
    if name == "mono":
        return fill(ds, mono, "MONOCHROME2")
    if name == "mono_inverted":
        return fill(ds, 255 - mono, "MONOCHROME1")
    if name == "mono12":
        return fill(ds, mono.astype(np.uint16) << 4, "MONOCHROME2", BitsStored=12, HighBit=11)
    if name == "ybr_full":
        return fill(ds, ybr(rgb), "YBR_FULL")
    if name == "ybr_422":
        y = ybr(rgb)
        half = np.stack([y[:, :, ::2, 0], y[:, :, 1::2, 0], y[:, :, ::2, 1], y[:, :, ::2, 2]], -1)
        fill(ds, rgb, "YBR_FULL_422").PixelData = half.tobytes()
        return ds
    if name == "palette":
        table = np.arange(256, dtype=np.uint16) << 8
        for channel in ("Red", "Green", "Blue"):
            setattr(ds, f"{channel}PaletteColorLookupTableDescriptor", [256, 0, 16])
            setattr(ds, f"{channel}PaletteColorLookupTableData", table.tobytes())
        return fill(ds, mono, "PALETTE COLOR")
    if name in ("jpeg", "jpeg_mono"):
        fill(
            ds, rgb if name == "jpeg" else mono, "YBR_FULL_422" if name == "jpeg" else "MONOCHROME2"
        )
        ds.PixelData = encapsulate(jpegs(rgb if name == "jpeg" else mono))
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        return ds
    if name in ("rle", "rle_mono"):
        fill(ds, rgb if name == "rle" else mono, "RGB" if name == "rle" else "MONOCHROME2")
        ds.compress(RLELossless, generate_instance_uid=False)
        return ds
    if name in ("j2k", "j2k_mono"):
        fill(ds, rgb if name == "j2k" else mono, "YBR_RCT" if name == "j2k" else "MONOCHROME2")
        if name == "j2k":
            ds.PhotometricInterpretation = "RGB"
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        if name == "j2k":
            ds.PhotometricInterpretation = "YBR_RCT"
        return ds
    raise ValueError(name)


KINDS = (
    "rgb",
    "rgb_planar",
    "mono",
    "mono_inverted",
    "mono12",
    "ybr_full",
    "ybr_422",
    "palette",
    "jpeg",
    "jpeg_mono",
    "rle",
    "rle_mono",
    "j2k",
    "j2k_mono",
)


def save(ds: FileDataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, ds, enforce_file_format=True)
    return path


def write(root: Path) -> Path:
    """Three patients: cines, a still, a spectrum, an object of another modality, a report, and labels.csv."""
    rows = ["file,view,patient,split,EF"]
    for i, (name, view) in enumerate((("jpeg", "A4C"), ("rgb", "AP2CH"), ("mono", "PLAX"))):
        for k, shown in enumerate((name, "jpeg_mono")):
            ds = kind(shown, 10 * i + k, patient=str(i), study=i + 1, number=k + 1)
            ds.SequenceOfUltrasoundRegions = Sequence([region()])
            file = f"study{i}/IM{k}"
            save(ds, root / file)
            if k == 0:
                rows.append(f"{file},{view},,{('train', 'val', 'test')[i]},{50 + i}")
            else:
                rows.append(f"{file},,,{('train', 'val', 'test')[i]},")
    still = kind("mono", 5, n=1, patient="2", study=3, number=9)
    save(still, root / "study2" / "IM7")
    rows.append("study2/IM7,,,test,")
    spectrum = kind("mono", 6, n=1, patient="2", study=3, number=10)
    spectrum.SequenceOfUltrasoundRegions = Sequence([region(data=3, plane=3)])
    save(spectrum, root / "study2" / "IM8")
    other = kind("mono", 7, n=1, patient="2", study=3, number=11)
    other.Modality = "CT"
    save(other, root / "study2" / "IM9")
    report = new("2", 3, 12, 1)
    report.Modality = "SR"
    save(report, root / "study2" / "SR1")
    (root / "study2" / "notes.txt").write_text("not a picture")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    (root / "PHANTOM").write_text("made\n")
    return root
