"""Distances between the borders of two masks, in mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from etab.types import Array, FloatArray

if TYPE_CHECKING:
    from scipy.spatial import cKDTree


def border(mask: Array) -> Array:
    """List the border pixels of a mask.

    A border pixel shares an edge with a pixel outside the mask, or with the edge of the frame.

    Args:
        mask: Boolean (h, w).

    Returns:
        (k, 2) rows and columns.

    Example:
        >>> border(np.ones((3, 3), dtype=bool)).shape
        (8, 2)
    """
    top, left, part = crop(mask)
    padded = np.zeros((part.shape[0] + 2, part.shape[1] + 2), dtype=bool)
    padded[1:-1, 1:-1] = part
    above_below = padded[:-2, 1:-1] & padded[2:, 1:-1]
    left_right = padded[1:-1, :-2] & padded[1:-1, 2:]
    inner = above_below & left_right
    row, column = np.divmod(np.flatnonzero(part & ~inner), max(part.shape[1], 1))
    return np.stack([row + top, column + left], axis=1)


def crop(mask: Array) -> tuple[int, int, Array]:
    """Crop a mask (h, w) to the smallest box that contains it.

    Returns:
        (first row, first column, content of the box); the box of an empty mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return 0, 0, np.empty((0, 0), dtype=bool)
    full_rows = mask[rows[0] : rows[-1] + 1]
    columns = np.flatnonzero(full_rows.any(axis=0))
    content = full_rows[:, columns[0] : columns[-1] + 1].astype(bool)
    return int(rows[0]), int(columns[0]), content


@dataclass(frozen=True, slots=True)
class Outline:
    """A mask prepared for scoring.

    Attributes:
        mask: Boolean (h, w).
        pixels: The number of pixels of the mask.
        border: (k, 2) positions of border pixels in mm.
        tree: A search tree over ``border``.
    """

    mask: Array
    pixels: int
    border: FloatArray
    tree: cKDTree


def outline(mask: Array, spacing: tuple[float, float]) -> Outline:
    """Prepare a boolean ``mask`` (h, w) for scoring; ``spacing`` is (row, column) in mm."""
    from scipy.spatial import cKDTree

    points = border(mask) * np.asarray(spacing, dtype=np.float64)
    return Outline(
        mask,
        int(np.count_nonzero(mask)),
        points,
        cKDTree(points),
    )


def surface_distances(truth: Outline, predicted: Outline) -> tuple[FloatArray, FloatArray]:
    """Measure the distance of each border pixel of a mask to the border of another, in mm.

    Args:
        truth: The reference mask, not empty.
        predicted: The predicted mask, not empty.

    Returns:
        (distances from ``truth`` to ``predicted``, distances from ``predicted`` to ``truth``).

    Example:
        >>> disc = np.hypot(*(np.mgrid[:20, :20] - 10)) < 6
        >>> shifted = np.roll(disc, 2, axis=1)
        >>> there, back = surface_distances(outline(disc, (1, 1)), outline(shifted, (1, 1)))
        >>> float(there.max()), float(back.max())
        (2.0, 2.0)
    """
    to_predicted = predicted.tree.query(truth.border)[0]
    to_truth = truth.tree.query(predicted.border)[0]
    return to_predicted, to_truth


def largest(mask: Array) -> Array:
    """Keep the largest connected component of a boolean mask (4-neighbours)."""

    import cv2

    top, left, part = crop(mask)
    count, marks, stats, _ = cv2.connectedComponentsWithStats(part.astype(np.uint8), connectivity=4)
    if count <= 2:
        return mask
    out = np.zeros(mask.shape, dtype=bool)
    h, w = part.shape
    areas = stats[1:, cv2.CC_STAT_AREA]  # mark 0 is the background
    out[top : top + h, left : left + w] = marks == 1 + int(areas.argmax())
    return out


def mask_from_scores(
    grid: FloatArray,
    shape: tuple[int, ...],
    threshold: float,
    *,
    whole: bool = False,
) -> Array:
    """Turn a map of scores into a mask: resample it to the size of a frame, apply a threshold.

    Args:
        grid: Scores (rows, columns).
        shape: Height and width of the mask.
        threshold: Pixels with at least this score belong to the mask.
        whole: Whether to keep all components; otherwise only the largest is kept.

    Returns:
        Boolean (h, w).
    """

    import cv2

    h, w = shape
    full = cv2.resize(grid.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
    mask = full >= threshold
    return np.asarray(mask) if whole else largest(mask)
