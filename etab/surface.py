"""Distances between the borders of two masks, in mm."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from etab.types import Array, FloatArray


def border(mask: Array) -> Array:
    """Pixels of a mask that touch its outside through an edge; the frame's rim counts as outside. (k, 2) row, col."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return np.empty((0, 2), dtype=np.int64)
    top, left = rows[0], columns[0]
    m = np.pad(mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(bool), 1)
    inner = m[:-2, 1:-1] & m[2:, 1:-1] & m[1:-1, :-2] & m[1:-1, 2:]
    return np.asarray(np.argwhere(m[1:-1, 1:-1] & ~inner) + (top, left))


def surface_distances(truth: Array, predicted: Array, spacing: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Distance of every border pixel of one mask to the other's border, both ways, in mm; both masks non-empty."""
    scale = np.asarray(spacing, dtype=np.float64)
    a, b = border(truth) * scale, border(predicted) * scale
    return cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
