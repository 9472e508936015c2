"""JPEG, TIFF and BMP pictures to grey arrays, and pictures of masks to whole numbers.

Pictures lie as viewers show them: a note of the camera that they are to be turned is followed.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from etab.errors import CorruptFileError
from etab.files import read_file
from etab.readers.codestream import picture_size, tiff_pages
from etab.readers.regular import require_regular
from etab.readers.still import LARGEST_SIDE, require_opaque, whole_png
from etab.types import Array, IntArray

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")

_JPEG = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"
_EXIF_CHUNK = b"eXIf"
_ORIENTATION = 0x0112  # tag of EXIF
_UPRIGHT = 1
_OF_PALETTE = "P"


def read_picture(path: Path) -> Array:
    """Read a JPEG, TIFF or BMP picture.

    Args:
        path: The file.

    Returns:
        Grey levels (h, w) uint8.

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: It is damaged, holds several pictures, more than 8 bits a pixel or a side
            above 4096 pixels, or is transparent where it is not black.
    """
    import cv2

    raw = _raw_picture(path)
    if not raw.startswith(_JPEG):
        stored = _decoded(path, raw, cv2.IMREAD_UNCHANGED)
        if stored.dtype != np.uint8:
            raise CorruptFileError(
                f"{path} has {8 * stored.dtype.itemsize} bits a pixel; wanted 8. Scale it to 0 to "
                "255."
            )
        require_opaque(path, stored)
    elif _JPEG_END not in raw[-64:]:
        raise CorruptFileError(f"{path} is not a whole JPEG picture: it ends early.")
    # This way of decoding turns a picture as its camera says.
    return np.asarray(_decoded(path, raw, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def read_mask_picture(path: Path) -> IntArray:
    """Read a PNG, TIFF or BMP picture with a whole number for each pixel.

    The number of a pixel is its grey level; where the picture has a palette of colours, its place in
    the palette.

    Args:
        path: The file.

    Returns:
        Numbers (h, w).

    Raises:
        LayoutError: The file is absent.
        CorruptFileError: It is damaged, has colours without a palette, fractions, transparent
            pixels of a structure, or is to be turned.
    """
    import cv2

    raw = whole_png(path) if path.suffix.lower() == ".png" else _raw_picture(path)
    _refuse_turned(path, raw)
    values = _decoded(path, raw, cv2.IMREAD_UNCHANGED)
    if values.ndim == 3:
        values = _one_number(path, raw, values)
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise CorruptFileError(
            f"{path} has fractions, as after interpolation; a mask has one whole number for each "
            "pixel."
        )
    return np.asarray(values, dtype=np.int64)


def _one_number(path: Path, raw: bytes, pixels: Array) -> Array:
    """The numbers (h, w) of a picture with several channels (h, w, c)."""
    require_opaque(path, pixels)
    if (pixels[..., :3] == pixels[..., :1]).all():
        return pixels[..., 0]
    places = _by_pillow(path, raw, _places_in_palette)
    if places is not None:
        return places
    raise CorruptFileError(
        f"{path} is a colour picture; a mask has one whole number for each pixel."
    )


def _refuse_turned(path: Path, raw: bytes) -> None:
    """Refuse a PNG that viewers turn, because its numbers are decoded as they are stored."""
    if _EXIF_CHUNK not in raw:
        return
    orientation = _by_pillow(
        path, raw, lambda picture: picture.getexif().get(_ORIENTATION, _UPRIGHT)
    )
    if orientation != _UPRIGHT:
        raise CorruptFileError(
            f"{path} has to be turned before it is shown (EXIF orientation {orientation}). Write "
            "it upright."
        )


def _places_in_palette(picture: Image.Image) -> Array | None:
    """The place (h, w) of each pixel in the palette; None for a picture without one."""
    return np.asarray(picture) if picture.mode == _OF_PALETTE else None


def _by_pillow(path: Path, raw: bytes, read: Callable[[Image.Image], T]) -> T:
    """Read something of a picture by Pillow, which raises errors of any type where it is damaged."""
    from PIL import Image

    try:
        with Image.open(BytesIO(raw)) as picture:
            return read(picture)
    except Exception as error:
        raise CorruptFileError(
            f"{path} cannot be read as a picture: {error}. Write it again."
        ) from error


def _raw_picture(path: Path) -> bytes:
    """Read the bytes of a picture, and check the size that it claims before a codec believes it."""
    require_regular(path, "Restore it, or drop its row from the table.")
    try:
        raw = read_file(path)
    except OSError as error:
        raise CorruptFileError(f"{path} cannot be read: {error.strerror}.") from error
    size = picture_size(raw)
    if size is None:
        raise CorruptFileError(f"{path} cannot be read as a picture. Write it again.")
    if not all(1 <= side <= LARGEST_SIDE for side in size):
        raise CorruptFileError(
            f"{path} claims {size[1]} x {size[0]} pixels; a picture has 1 to {LARGEST_SIDE} a side."
        )
    pages = tiff_pages(raw)
    if pages > 1:
        raise CorruptFileError(
            f"{path} holds {pages} pictures, of which one would be read. Write each of them as a "
            "file of its own, separated by ; in the table."
        )
    return raw


def _decoded(path: Path, raw: bytes, flags: int) -> Array:
    """Decode a picture whose claimed size was checked."""
    import cv2

    try:
        picture = cv2.imdecode(np.frombuffer(raw, np.uint8), flags)
    except cv2.error:
        picture = None
    if picture is None:
        raise CorruptFileError(f"{path} cannot be read as a picture. Write it again.")
    return np.asarray(picture)
