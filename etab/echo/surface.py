"""Distances between the borders of two masks, in mm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from etab.types import Array, FloatArray


def border(mask: Array) -> Array:
    """Pixels of a mask that touch its outside through an edge; the frame's rim counts as outside.
    (k, 2) row, col.
    """
    top, left, part = crop(mask)
    m = np.zeros((part.shape[0] + 2, part.shape[1] + 2), dtype=bool)
    m[1:-1, 1:-1] = part
    inner = m[:-2, 1:-1] & m[2:, 1:-1] & m[1:-1, :-2] & m[1:-1, 2:]
    row, column = np.divmod(np.flatnonzero(part & ~inner), max(part.shape[1], 1))
    return np.stack([row + top, column + left], axis=1)


def crop(mask: Array) -> tuple[int, int, Array]:
    """First row, first column and content of the smallest box that holds the mask; an empty box for
    an empty mask.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return 0, 0, np.empty((0, 0), dtype=bool)
    band = mask[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero(band.any(axis=0))
    return int(rows[0]), int(columns[0]), band[:, columns[0] : columns[-1] + 1].astype(bool)


@dataclass(frozen=True, slots=True)
class Outline:
    """A mask with what scoring asks of it: its pixels, its border (k, 2) in mm, and a tree over the
    border.
    """

    mask: Array
    pixels: int
    border: FloatArray
    tree: cKDTree


def outline(mask: Array, spacing: tuple[float, float]) -> Outline:
    """Prepare a boolean mask (h, w); ``spacing`` is (row, column) in mm."""
    points = border(mask) * np.asarray(spacing, dtype=np.float64)
    return Outline(mask, int(np.count_nonzero(mask)), points, cKDTree(points))


def surface_distances(truth: Outline, predicted: Outline) -> tuple[FloatArray, FloatArray]:
    """Distance of every border pixel of one mask to the other's border, both ways, in mm; both
    masks non-empty.
    """
    return predicted.tree.query(truth.border)[0], truth.tree.query(predicted.border)[0]


def largest(mask: Array) -> Array:
    """Keep the largest connected component of a boolean mask (4-neighbours)."""

    import cv2

    top, left, part = crop(mask)
    count, marks, stats, _ = cv2.connectedComponentsWithStats(part.astype(np.uint8), connectivity=4)
    if count <= 2:
        return mask
    out = np.zeros(mask.shape, dtype=bool)
    h, w = part.shape
    out[top : top + h, left : left + w] = marks == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return out


def mask_from_scores(
    grid: FloatArray, shape: tuple[int, ...], threshold: float, *, whole: bool = False
) -> Array:
    """Resample a score map to a frame's pixels and cut it.

    Args:
        grid: (h, w) scores.
        shape: Size of the mask, in pixels.
        threshold: Scores from here on are inside.
        whole: Whether all components are kept, and not only the largest.

    Returns:
        The mask.
    """

    import cv2

    h, w = shape
    full = cv2.resize(grid.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
    mask = full >= threshold
    return np.asarray(mask) if whole else largest(mask)
