"""Finds the ultrasound image in a frame with text, bars and logos, to blank everything else.

In a cine, the pixels of the ultrasound image are those that move. In a still, they are bright,
thick and textured (letters are thin, bars are flat). The largest such patch is extended to its
convex hull, as a sector is convex, and restricted to the calibrated regions inside the frame.

Source: ``mask_outside_ultrasound`` of EchoPrime describes the method; this is an independent
implementation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from etab.types import Array

Box = tuple[int, int, int, int]
_MOVES = 8
_BRIGHT = 10
_TEXTURE = 1.5
_LEAST_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Sector:
    """The region of the ultrasound image in a frame.

    Attributes:
        box: (top, bottom, left, right), half open.
        bits: The mask inside the box, packed in bits.
    """

    box: Box
    bits: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the box."""
        top, bottom, left, right = self.box
        return bottom - top, right - left

    @property
    def mask(self) -> Array:
        """The mask inside the box, boolean (rows, columns)."""
        rows, columns = self.shape
        flat = np.unpackbits(self.bits, count=rows * columns)
        return flat.reshape(rows, columns).astype(bool)

    def cut(self, frames: Array) -> Array:
        """Crop frames to the box, and set pixels outside the mask to 0.

        Args:
            frames: (k, h, w), of the size of the frame in which the sector was located.

        Returns:
            (k, rows, columns) in the dtype of ``frames``.
        """
        top, bottom, left, right = self.box
        cropped = frames[:, top:bottom, left:right]
        return np.where(self.mask, cropped, 0).astype(frames.dtype)


def sector(frames: Array, boxes: Sequence[Box] = ()) -> Sector | None:
    """Find the ultrasound image in a recording.

    Text over the image itself, and a moving trace that touches it, cannot be separated from it.

    Args:
        frames: uint8 (k, h, w).
        boxes: Regions (top, bottom, left, right) of which one must contain the image; empty for
            the whole frame.

    Returns:
        The region, or None if no patch covers at least 1 % of the frame, as in a black image or a
        frozen, smooth one.
    """
    shape = frames.shape[1:]
    allowed = np.zeros(shape, bool)
    for top, bottom, left, right in boxes:
        allowed[top:bottom, left:right] = True
    if not boxes:
        allowed[:] = True
    for pixels in (_moving(frames), _thick(frames[0])):
        patch = _largest(pixels & allowed)
        if patch is None:
            continue
        least_pixels = _LEAST_SHARE * patch.size
        if patch.sum() >= least_pixels:
            return _packed(_hull(patch) & allowed)
    return None


def _kernel(shape: Sequence[int]) -> Array:
    """Return a square of ones, 2 % of the frame wide and at least 3 pixels."""
    half_side = round(min(shape) * 0.02 / 2)
    side = max(2 * half_side + 1, 3)
    return np.ones((side, side), np.uint8)


def _moving(frames: Array) -> Array:
    """Mark pixels that change by more than the noise of a codec, without specks."""
    import cv2

    if len(frames) < 2:
        return np.zeros(frames.shape[1:], bool)
    change = frames.max(0) - frames.min(0)
    without_specks = cv2.medianBlur(np.ascontiguousarray(change), 3)
    moving = (without_specks > _MOVES).astype(np.uint8)
    kernel = _kernel(moving.shape)
    closed = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, kernel)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel)
    return np.asarray(opened) > 0


def _thick(frame: Array) -> Array:
    """Mark bright patches that are wider than the strokes of letters and not as flat as a bar."""
    import cv2

    kernel = _kernel(frame.shape)
    bright = (frame > _BRIGHT).astype(np.uint8)
    opened = np.asarray(cv2.morphologyEx(bright, cv2.MORPH_OPEN, kernel))
    grey = frame.astype(np.float32)
    mean = cv2.blur(grey, kernel.shape)
    mean_square = cv2.blur(grey * grey, kernel.shape)
    variance = mean_square - mean**2
    is_textured = variance > _TEXTURE**2
    textured = (is_textured & (opened > 0)).astype(np.uint8)
    patches = cv2.morphologyEx(textured, cv2.MORPH_OPEN, kernel)
    return np.asarray(patches) > 0


def _largest(pixels: Array) -> Array | None:
    """Return the largest connected patch (8 neighbours), or None if no pixel is marked."""
    import cv2

    marked = pixels.astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(marked, connectivity=8)
    if count < 2:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]  # label 0 is the background
    label = 1 + int(np.argmax(areas))
    return np.asarray(labels == label)


def _hull(patch: Array) -> Array:
    """Fill the convex hull of a patch."""
    import cv2

    outline, _ = cv2.findContours(patch.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points: Any = np.concatenate(outline)
    canvas = np.zeros(patch.shape, np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(points), 1)
    return canvas > 0


def _packed(mask: Array) -> Sector | None:
    """Pack a mask of the frame into a Sector; None for an empty mask."""
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    top = int(rows[0])
    bottom = int(rows[-1]) + 1
    left = int(columns[0])
    right = int(columns[-1]) + 1
    content = mask[top:bottom, left:right]
    return Sector((top, bottom, left, right), np.packbits(content))
