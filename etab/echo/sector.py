"""Where the ultrasound picture is in a frame full of text, bars and logos: what is outside is
blanked, never shown.

In a cine the picture is what moves; in a still it is what is bright, thick and textured (letters
are thin, bars are flat). The largest such patch is closed to its convex hull, as a sector is
convex, and cut to the calibrated regions where these lie inside the frame. Method as
``mask_outside_ultrasound`` of EchoPrime describes it, written anew; limits in ``sector``.
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
    """The picture's box in a frame (top, bottom, left, right; half open) and, packed in bits, its
    mask inside that box.
    """

    box: Box
    bits: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the box."""
        return self.box[1] - self.box[0], self.box[3] - self.box[2]

    @property
    def mask(self) -> Array:
        """Boolean (rows, columns) of the box."""
        count = self.shape[0] * self.shape[1]
        return np.unpackbits(self.bits, count=count).reshape(self.shape).astype(bool)

    def cut(self, frames: Array) -> Array:
        """Frames (k, h, w) cut to the box, 0 outside the mask."""
        top, bottom, left, right = self.box
        return np.where(self.mask, frames[:, top:bottom, left:right], 0).astype(frames.dtype)


def sector(frames: Array, boxes: Sequence[Box] = ()) -> Sector | None:
    """Find the picture in frames (k, h, w) uint8 of one recording; ``boxes`` are regions it must
    lie in (any of them).

    None where nothing of at least 1 % of the frame is found, as in a black or a frozen, smooth
    picture. What it cannot see: text laid over the picture itself, and a moving trace that touches
    it.
    """
    shape = frames.shape[1:]
    allowed = np.zeros(shape, bool)
    for top, bottom, left, right in boxes or ((0, shape[0], 0, shape[1]),):
        allowed[top:bottom, left:right] = True
    for pixels in (_moving(frames), _thick(frames[0])):
        patch = _largest(pixels & allowed)
        if patch is not None and patch.sum() >= _LEAST_SHARE * patch.size:
            return _packed(_hull(patch) & allowed)
    return None


def _kernel(shape: Sequence[int], share: float) -> Array:
    side = 2 * round(min(shape) * share / 2) + 1
    return np.ones((max(side, 3), max(side, 3)), np.uint8)


def _moving(frames: Array) -> Array:
    """Pixels that change by more than a codec's noise, without specks."""
    import cv2

    if len(frames) < 2:
        return np.zeros(frames.shape[1:], bool)
    change = frames.max(0) - frames.min(0)
    moving = (cv2.medianBlur(np.ascontiguousarray(change), 3) > _MOVES).astype(np.uint8)
    closed = cv2.morphologyEx(moving, cv2.MORPH_CLOSE, _kernel(moving.shape, 0.02))
    return np.asarray(cv2.morphologyEx(closed, cv2.MORPH_OPEN, _kernel(moving.shape, 0.02))) > 0


def _thick(frame: Array) -> Array:
    """Pixels of bright patches wider than the strokes of letters, less those as flat as a bar."""
    import cv2

    bright = (frame > _BRIGHT).astype(np.uint8)
    opened = np.asarray(cv2.morphologyEx(bright, cv2.MORPH_OPEN, _kernel(frame.shape, 0.02)))
    grey = frame.astype(np.float32)
    size = _kernel(frame.shape, 0.02).shape
    spread = cv2.blur(grey * grey, size) - cv2.blur(grey, size) ** 2
    textured = ((spread > _TEXTURE**2) & (opened > 0)).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(textured, cv2.MORPH_OPEN, _kernel(frame.shape, 0.02))) > 0


def _largest(pixels: Array) -> Array | None:
    import cv2

    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        pixels.astype(np.uint8), connectivity=8
    )
    if count < 2:
        return None
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def _hull(patch: Array) -> Array:
    import cv2

    outline, _ = cv2.findContours(patch.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    points: Any = np.concatenate(outline)
    canvas = np.zeros(patch.shape, np.uint8)
    cv2.fillConvexPoly(canvas, cv2.convexHull(points), 1)
    return canvas > 0


def _packed(mask: Array) -> Sector | None:
    rows = np.flatnonzero(mask.any(1))
    columns = np.flatnonzero(mask.any(0))
    if len(rows) == 0:
        return None
    box = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    return Sector(box, np.packbits(mask[box[0] : box[1], box[2] : box[3]]))
