"""NIfTI and MetaImage (.mhd, .mha) files to arrays (frames, rows, columns) with the probe at the top."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etab.readers.geometry import VolumeInfo, corrupt_volume
from etab.readers.metaimage import metaimage_info, read_metaimage
from etab.readers.nifti import nifti_info, read_nifti
from etab.types import Array

__all__ = ["METAIMAGES", "Volume", "VolumeInfo", "grey", "labels", "read_volume", "volume_info"]

METAIMAGES = (".mhd", ".mha")
"""Suffixes of MetaImage files: pixels lie beside a header, or behind it."""

_WHITE = 255
_ROUNDING = 1e-3
_LEAST_RANGE = 32
# Fractions whose brightest is below this level are not on the scale from 0 to 1: no ultrasound
# picture is as dark as that, and rounding would leave it a few levels.
_LEAST_WHITE = 8


@dataclass(frozen=True, slots=True)
class Volume:
    """Pixels (frames, rows, columns) in the numbers of the file, with what its header says."""

    data: Array
    info: VolumeInfo


def read_volume(path: Path) -> Volume:
    """Read a .nii, .nii.gz, .mhd or .mha file, each byte once.

    Rows are depth with the probe at row 0: both formats store (x, y[, t]), and a copy whose header
    says that it was flipped or transposed is turned back. Colour is turned to grey.

    Args:
        path: The file; one that ends with ".mhd" or ".mha" is MetaImage, any other is NIfTI-1.

    Returns:
        The pixels and the facts of the header.

    Raises:
        LayoutError: The file, or the file of pixels that it names, is absent.
        CorruptFileError: It is damaged, of an absurd size, or lies in no orientation that can be
        put right.
    """
    read = read_metaimage if _is_metaimage(path) else read_nifti
    data, info = read(path)
    return Volume(data, info)


def volume_info(path: Path) -> VolumeInfo:
    """Read the header alone (the first kilobytes of a NIfTI file); raises as ``read_volume``."""
    return metaimage_info(path) if _is_metaimage(path) else nifti_info(path)


def _is_metaimage(path: Path) -> bool:
    return path.suffix.lower() in METAIMAGES


def grey(path: Path, data: Array) -> Array:
    """Turn the pixels of an ultrasound picture into uint8, whatever number type they are stored in.

    Whole numbers are grey levels from 0 to 255. Fractions are grey levels from 0 to 255, or from 0
    to 1 where none is above 1; then they are scaled. The whole file is judged at once, so that all
    of its frames are scaled alike.

    Args:
        path: The file, for messages.
        data: Its pixels, any shape.

    Returns:
        The grey levels, uint8, in the shape of ``data``.

    Raises:
        CorruptFileError: The values are not grey levels: NaN, negative, above 255, only 0 and 1 (a
            picture that was rounded, or a mask), or fractions in a range so small that rounding
            would leave a few levels.
    """
    low = float(data.min())
    high = float(data.max())
    is_unit_range = high <= 1 + _ROUNDING and low >= -_ROUNDING and data.dtype.kind == "f"
    if not (low >= 0 and high <= _WHITE) and not is_unit_range:
        raise corrupt_volume(
            path,
            f"its values run from {low:g} to {high:g}; grey levels are 0 to 255, or fractions "
            "from 0 to 1",
            "Scale it, or restore the file as published.",
        )
    has_fractions = data.dtype.kind == "f" and not np.array_equal(data, np.rint(data))
    if is_unit_range and has_fractions and high * _WHITE >= _LEAST_WHITE:
        return np.asarray(np.rint(data.clip(0, 1) * _WHITE).astype(np.uint8))
    if high == 1:
        raise corrupt_volume(
            path,
            "it holds only the values 0 and 1; grey levels are 0 to 255, or fractions from 0 to 1",
            "It is a mask, or was rounded; restore the picture as published.",
        )
    if has_fractions and high < _LEAST_RANGE:
        raise corrupt_volume(
            path,
            f"its values are fractions from {low:g} to {high:g}, and it is not clear which of "
            "them is white; grey levels are 0 to 255, or fractions from 0 to 1",
            "Scale it, or restore the file as published.",
        )
    if data.dtype == np.uint8:
        return data
    return np.asarray(np.rint(data).astype(np.uint8))


def labels(path: Path, data: Array, highest: int) -> Array:
    """Convert a volume of masks to labels.

    Args:
        path: The file, for messages.
        data: The volume.
        highest: The largest label.

    Returns:
        uint8 labels from 0 to ``highest``, in the shape of ``data``.

    Raises:
        CorruptFileError: The volume has another value.

    Example:
        >>> labels(Path("mask.nii"), np.array([[0.0, 2.0]]), highest=3).tolist()
        [[0, 2]]
    """
    low = float(data.min())
    high = float(data.max())
    if not (low >= 0 and high <= highest):
        raise corrupt_volume(
            path, f"its labels run from {low:g} to {high:g}; wanted 0 to {highest}"
        )
    out = data.astype(np.uint8)
    if data.dtype.kind == "f" and not np.array_equal(out, data):
        raise corrupt_volume(path, "its labels are not whole numbers, as after interpolation")
    return out
