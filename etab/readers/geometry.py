"""What NIfTI and MetaImage have in common: the size of a picture, its pixel spacing, and which way
up it lies.

Both formats say where the axes of the stored array point in the patient. CAMUS was published with
columns towards the patient's left and rows towards the back, so that the probe is at row 0. A copy
that a tool has reoriented says so in its header, and is turned back here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from etab.errors import CorruptFileError
from etab.types import Array, FloatArray

_MAX_SIDE = 8192
MAX_VOLUME_BYTES = 1 << 30
# What a file may hold beside its pixels: a header with its extensions, and bytes behind the pixels.
_BESIDE_PIXELS = 1 << 20
AS_PUBLISHED = "LP"
_LARGEST_PIXEL_MM = 100.0
_LEAST_COSINE = 0.8
_LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a stored picture is turned to lie as published: its axes are swapped first, then flipped.

    Args:
        name: Where the stored columns and rows point: "LP" is as published, "" is not known.
        swap: Whether stored columns become rows.
        flip_rows: Whether the first row becomes the last.
        flip_columns: Whether the first column becomes the last.
    """

    name: str = ""
    swap: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    def turn(self, frames: Array) -> Array:
        """Turn frames (frames, rows, columns); a view where nothing has to be copied."""
        if self.swap:
            frames = frames.swapaxes(1, 2)
        if self.flip_rows:
            frames = frames[:, ::-1]
        if self.flip_columns:
            frames = frames[:, :, ::-1]
        return frames


@dataclass(frozen=True, slots=True)
class VolumeInfo:
    """Facts in the header of a volume, for the picture after it is turned upright.

    Args:
        shape: Frames, rows, columns.
        spacing: Height and width of a pixel in mm; None where the header does not give them.
        description: Free text of the header.
        channels: Numbers a pixel in the file: 1 grey, 3 or 4 colour (turned to grey when the pixels
        are read). orientation: Where the stored columns and rows point, "LP" as published; "" where
        the header does not say.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float] | None
    description: str = ""
    channels: int = 1
    orientation: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """Sizes of the array as a file holds it; ``frames`` is None where the header leaves their
    number open.
    """

    frames: int | None
    rows: int
    columns: int
    channels: int = 1

    def shape(self, orientation: Orientation, frames: int) -> tuple[int, int, int]:
        """Return frames, rows and columns of ``frames`` images turned to ``orientation``."""
        if orientation.swap:
            return frames, self.columns, self.rows
        return frames, self.rows, self.columns


def corrupt_volume(
    path: Path,
    fault: str,
    then: str = "Restore the file as published.",
) -> CorruptFileError:
    """Build the error of a volume that cannot be read.

    Args:
        path: The file.
        fault: What is wrong with it.
        then: The next step for the user.
    """
    return CorruptFileError(f"{path} cannot be read: {fault}. {then}")


def stored_sizes(
    path: Path,
    sizes: Sequence[int],
    itemsize: int,
    channels: int = 1,
) -> Stored:
    """Read the sizes (x, y[, z[, t]]) of a header.

    Args:
        path: The file, for messages.
        sizes: Lengths of the axes. A third or fourth length of 0 or -1 is a placeholder: where it
        is the only one that
            could count frames, their number has to be taken from the length of the file.
        itemsize: Bytes of one number.
        channels: Numbers a pixel.

    Raises:
        CorruptFileError: No ultrasound recording has these sizes.
    """
    if len(sizes) < 2:
        raise _wrong_shape(path, sizes)
    columns = sizes[0]
    rows = sizes[1]
    further = [size for size in sizes[2:] if size != 1]
    known = [size for size in further if size > 0]
    if len(known) > 1 or any(size > 1 for size in sizes[4:]):
        raise _wrong_shape(path, sizes)
    frames: int | None = known[0] if known else 1
    if further and not known:
        frames = None
    if min(rows, columns) < 1 or min(further, default=0) < -1:
        raise too_large(path, sizes)
    check_size(path, sizes, Stored(frames, rows, columns, channels), itemsize)
    return Stored(frames, rows, columns, channels)


def check_size(
    path: Path,
    sizes: Sequence[int],
    stored: Stored,
    itemsize: int,
) -> None:
    """Refuse sizes that no ultrasound recording has, before memory is allocated.

    Args:
        path: The file, for messages.
        sizes: The sizes in the header.
        stored: The layout of the pixels.
        itemsize: Bytes per pixel.

    Raises:
        CorruptFileError: A side or the whole volume is too large.
    """
    size = math.prod((stored.frames or 1, stored.rows, stored.columns, stored.channels, itemsize))
    if max(stored.rows, stored.columns) > _MAX_SIDE or size > MAX_VOLUME_BYTES:
        raise too_large(path, sizes)


def refuse_surplus(path: Path, n_bytes: int, promised: int) -> None:
    """Refuse a file that is far larger than its pixels, before it is read.

    Args:
        path: The file, for messages.
        n_bytes: Bytes that it has, packed or not.
        promised: Bytes of the pixels that its header promises; packed pixels take hardly more.

    Raises:
        CorruptFileError: The file has more bytes than its header accounts for.

    Example:
        >>> refuse_surplus(Path("a.nii"), 10 << 30, 6000)
        Traceback (most recent call last):
            ...
        etab.errors.CorruptFileError: a.nii cannot be read: it has 10,737,418,240 bytes, and its \
header promises 6,000 bytes of pixels. Download it again.
    """
    if n_bytes > promised + promised // 1000 + _BESIDE_PIXELS:
        raise corrupt_volume(
            path,
            f"it has {n_bytes:,} bytes, and its header promises {promised:,} bytes of pixels",
            "Download it again.",
        )


def too_large(path: Path, sizes: Sequence[int]) -> CorruptFileError:
    """Build the error of a volume with ``sizes`` beyond any ultrasound recording.

    Args:
        path: The file.
        sizes: The sizes in its header.
    """
    return corrupt_volume(
        path, f"its header claims {tuple(sizes)} pixels; the limit is {_MAX_SIDE} a side and 1 GiB"
    )


def _wrong_shape(path: Path, sizes: Sequence[int]) -> CorruptFileError:
    return corrupt_volume(
        path,
        f"its shape is {tuple(sizes)}; wanted a still (x, y) or a sequence (x, y, frames)",
        "Export the two-dimensional recording.",
    )


def count_frames(
    path: Path,
    stored: Stored,
    itemsize: int,
    n_bytes: int,
) -> int:
    """Count the frames of a file from its header, or else from the bytes of its pixels.

    Args:
        path: The file, for messages.
        stored: The layout of the pixels.
        itemsize: Bytes per pixel.
        n_bytes: Bytes of all pixels in the file.

    Raises:
        CorruptFileError: The header gives no number, and the file has less than one frame.
    """
    if stored.frames is not None:
        return stored.frames
    frame_bytes = stored.rows * stored.columns * stored.channels * itemsize
    frames = n_bytes // frame_bytes
    if not frames:
        raise corrupt_volume(
            path,
            f"its header leaves the number of frames open, and {n_bytes} bytes are less than one "
            "frame",
            "Download it again.",
        )
    return frames


def pixel_spacing(
    path: Path,
    row: float,
    column: float,
    orientation: Orientation,
) -> tuple[float, float] | None:
    """Return height and width of a pixel in mm after turning; None if the header has no sizes.

    Args:
        path: The file, for messages.
        row: The distance of stored rows in mm.
        column: The distance of stored columns in mm.
        orientation: How the image is turned.

    Raises:
        CorruptFileError: The header gives a size that no ultrasound image has.
    """
    if not all(math.isfinite(size) and size != 0 for size in (row, column)):
        return None
    if not (0 < row < _LARGEST_PIXEL_MM and 0 < column < _LARGEST_PIXEL_MM):
        raise corrupt_volume(path, f"its pixel spacing is {row:g} x {column:g} mm")
    return (column, row) if orientation.swap else (row, column)


def orientation_of(
    path: Path,
    x: FloatArray,
    y: FloatArray,
) -> Orientation:
    """How to turn a picture whose stored axes point along ``x`` and ``y``.

    Args:
        path: The file, for messages.
        x: Direction (left, posterior, superior) of increasing stored columns; any length.
        y: Direction of increasing stored rows.

    Returns:
        The turn; one that does nothing, named "", where a direction is missing or not a number.

    Raises:
        CorruptFileError: The axes do not lie in the plane in which CAMUS was published.
    """
    lengths = [float(np.linalg.norm(axis)) for axis in (x, y)]
    if not all(math.isfinite(length) and length > 0 for length in lengths):
        return Orientation()
    directions = [axis / length for axis, length in zip((x, y), lengths, strict=True)]
    main = [int(np.argmax(np.abs(direction))) for direction in directions]
    cosines = [float(direction[k]) for direction, k in zip(directions, main, strict=True)]
    if sorted(main) != [0, 1] or min(map(abs, cosines)) < _LEAST_COSINE:
        raise corrupt_volume(
            path,
            f"its columns point along {_words(directions[0])} and its rows along "
            f"{_words(directions[1])} "
            "(left, posterior, superior); as published they point to the left and to the back",
            "Write it again with the identity as its direction and the probe at the first row.",
        )
    name = "".join(("LR", "PA")[k][cosine < 0] for k, cosine in zip(main, cosines, strict=True))
    swap = main == [1, 0]
    to_left = cosines[main.index(0)]
    to_back = cosines[main.index(1)]
    return Orientation(
        name,
        swap,
        flip_rows=to_back < 0,
        flip_columns=to_left < 0,
    )


def _words(direction: FloatArray) -> str:
    return "(" + ", ".join(f"{value:.2g}" for value in direction) + ")"


def luma(pixels: Array) -> Array:
    """The brightness of colour pixels (..., 3 or 4) by ITU-R BT.601; transparency is dropped, whole
    numbers stay whole.
    """
    grey = pixels[..., :3].astype(np.float64) @ np.asarray(_LUMA)
    if pixels.dtype.kind == "f":
        return np.asarray(grey.astype(pixels.dtype))
    return np.asarray(np.rint(grey).astype(pixels.dtype))
