"""Scores of many linear fits on the feature maps of their rows, as maps of the common grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from etab.heads.masks.points import (
    GRID,
    MAPS_AT_ONCE,
    POOLINGS,
    axis_weights,
    positions,
    smooth,
    widen,
)
from etab.heads.masks.probe import Linear
from etab.storage.watchdog import progressed
from etab.types import FloatArray, IntArray

# Fits that are multiplied together; where fewer are left, weights of zero are added. A product of
# one size has one order of sums, whichever fits are asked for beside.
_TOGETHER = 16


def scores_of(maps: Sequence[Any], fits: Sequence[Linear]) -> list[FloatArray]:
    """Compute the scores of rows as maps, for many fits that each ask for rows of their own.

    The channels of each map are weighted at its own resolution, then resampled and added. Each map
    is read once, whatever the number of fits that ask for it.

    Args:
        maps: Maps (n, channels, h, w), which may be views of files.
        fits: The fits with their rows.

    Returns:
        (rows, GRID, GRID) float32 for each fit.
    """
    channels = sum(m.shape[1] for m in maps)
    ends = np.cumsum([len(fit.rows) for fit in fits])
    out = np.empty((ends[-1], GRID, GRID), dtype=np.float32)
    scores = np.split(out, ends[:-1])
    for fit, of_fit in zip(fits, scores, strict=True):
        flat = positions() @ fit.weights[channels:] + fit.intercept
        of_fit[:] = flat.reshape(GRID, GRID)
    asked = _Asked(fits)
    first = 0
    for m in maps:
        layer = slice(first, first + m.shape[1])
        first = layer.stop
        weights = np.stack([fit.weights[layer] for fit in fits]).astype(np.float32)
        operators = [_axes(m.shape[2:], pooling) for pooling in POOLINGS]
        for start in range(0, len(asked.rows), MAPS_AT_ONCE):
            chosen = asked.rows[start : start + MAPS_AT_ONCE]
            block = widen(np.asarray(m[chosen]), np.empty((len(chosen), *m.shape[1:]), np.float32))
            for row, one in zip(chosen, block, strict=True):
                for axes, (places, by) in zip(operators, asked.of(int(row)), strict=True):
                    _add(out, places, weights[by], one, axes)
            progressed()
    return scores


class _Asked:
    """Which fits ask for a row, and the places of its scores among those of all fits."""

    def __init__(self, fits: Sequence[Linear]) -> None:
        rows = np.concatenate([fit.rows for fit in fits])
        owners = np.repeat(np.arange(len(fits)), [len(fit.rows) for fit in fits])
        poolings = np.array([POOLINGS.index(fit.pooling) for fit in fits])[owners]
        self.rows = np.unique(rows)
        self._owners = owners
        self._order = np.lexsort((poolings, rows))
        self._keys = (rows * len(POOLINGS) + poolings)[self._order]

    def of(self, row: int) -> list[tuple[IntArray, IntArray]]:
        """The places of the scores of a row, and the fits that give them, of each pooling."""
        found: list[tuple[IntArray, IntArray]] = []
        for pooling in range(len(POOLINGS)):
            key = row * len(POOLINGS) + pooling
            first, end = np.searchsorted(self._keys, (key, key + 1))
            places = self._order[first:end]
            found.append((places, self._owners[places]))
        return found


def _axes(shape: Sequence[int], pooling: str) -> tuple[FloatArray, FloatArray]:
    """The matrices that resample rows and columns of a map to the common grid, after pooling."""
    matrices = []
    for size in shape:
        matrix = axis_weights(size)
        if pooling == "mean3x3":
            matrix = matrix @ _smooth_axis(size)
        matrices.append(matrix)
    return matrices[0], np.ascontiguousarray(matrices[1].T)


def _smooth_axis(size: int) -> FloatArray:
    """The mean over three neighbours along an axis, with edges repeated: (size, size)."""
    # Smoothing is the same along both axes: that of a row of equal columns is along the first.
    columns = np.repeat(np.eye(size, dtype=np.float32)[:, :, None], 3, axis=2)
    return np.asarray(smooth(columns)[:, :, 1].T)


def _add(
    out: FloatArray,
    places: IntArray,
    weights: FloatArray,
    one: FloatArray,
    axes: tuple[FloatArray, FloatArray],
) -> None:
    """Add the scores of fits ``weights`` (fits, channels) on one map to their places."""
    channels, height, width = one.shape
    of_rows, of_columns = axes
    points = one.reshape(channels, -1)
    for start in range(0, len(places), _TOGETHER):
        these = weights[start : start + _TOGETHER]
        padded = np.zeros((_TOGETHER, channels), dtype=np.float32)
        padded[: len(these)] = these
        planes = (padded @ points).reshape(_TOGETHER, height, width)
        resampled = of_rows @ planes @ of_columns
        out[places[start : start + _TOGETHER]] += resampled[: len(these)]
