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
    height, width = part.shape
    padded = np.zeros((height + 2, width + 2), dtype=bool)
    padded[1:-1, 1:-1] = part
    above_below = padded[:-2, 1:-1] & padded[2:, 1:-1]
    left_right = padded[1:-1, :-2] & padded[1:-1, 2:]
    inner = above_below & left_right
    positions = np.flatnonzero(part & ~inner)
    row, column = np.divmod(positions, max(width, 1))
    return np.stack([row + top, column + left], axis=1)


def crop(mask: Array) -> tuple[int, int, Array]:
    """Crop a mask to the smallest box that contains it.

    Args:
        mask: Boolean (h, w).

    Returns:
        (first row, first column, content of the box); the box of an empty mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return 0, 0, np.empty((0, 0), dtype=bool)
    top = int(rows[0])
    bottom = int(rows[-1]) + 1
    full_rows = mask[top:bottom]
    columns = np.flatnonzero(full_rows.any(axis=0))
    left = int(columns[0])
    right = int(columns[-1]) + 1
    content = full_rows[:, left:right].astype(bool)
    return top, left, content


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
    """Prepare a mask for scoring.

    Args:
        mask: Boolean (h, w).
        spacing: Height and width of a pixel in mm.
    """
    from scipy.spatial import cKDTree

    points = border(mask) * np.asarray(spacing, dtype=np.float64)
    pixels = int(np.count_nonzero(mask))
    return Outline(mask, pixels, points, cKDTree(points))


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
        >>> truth = outline(disc, (1, 1))
        >>> to_shifted, to_truth = surface_distances(truth, outline(shifted, (1, 1)))
        >>> float(to_shifted.max()), float(to_truth.max())
        (2.0, 2.0)
    """
    to_predicted = predicted.tree.query(truth.border)[0]
    to_truth = truth.tree.query(predicted.border)[0]
    return to_predicted, to_truth


def largest(mask: Array) -> Array:
    """Keep the largest connected component of a mask, by the four neighbours of each pixel.

    Args:
        mask: Boolean (h, w).

    Returns:
        Boolean (h, w); ``mask`` itself if it has no more than one component.
    """
    import cv2

    top, left, part = crop(mask)
    pixels = part.astype(np.uint8)
    count, labels = cv2.connectedComponents(pixels, connectivity=4)
    if count <= 2:  # the background counts as one
        return mask
    areas = np.bincount(labels[part], minlength=count)  # label 0 is the background
    label = int(areas.argmax())
    out = np.zeros(mask.shape, dtype=bool)
    bottom = top + part.shape[0]
    right = left + part.shape[1]
    out[top:bottom, left:right] = labels == label
    return out


def mask_from_scores(
    grid: FloatArray,
    shape: tuple[int, ...],
    threshold: float,
    *,
    whole: bool = False,
) -> Array:
    """Resample a map of scores to the size of a frame, and apply a threshold.

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
