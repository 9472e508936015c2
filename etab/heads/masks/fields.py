"""Points of feature maps as logistic fits read them, with what follows from them without a label.

A channel is standardised by the mean and deviation of the training rows. The correlations of all
points, of a few hundred rows, shape the steps of every fit: they do not move its optimum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import scipy

from etab.heads.masks.moments import blocks, constant_channels
from etab.heads.masks.points import POSITIONS, Points
from etab.types import FloatArray, IntArray

# Rows whose points give the correlations.
_CORRELATED_ROWS = 256
# Added to the correlations: that of a middle penalty beside points of a middle curvature.
_RIDGE = 5e-3
# Numbers of a block of points, which stays in the cache of a processor while it is multiplied twice.
_CACHED = 1_600_000
_MOST_ROWS = 64


@dataclass(frozen=True)
class RowMoments:
    """Moments of the points of each row.

    Attributes:
        points: The number of points of a row.
        means: (n, width) mean of each channel.
        spreads: (n, width) sum of squared distances from this mean.
    """

    points: int
    means: FloatArray
    spreads: FloatArray

    @classmethod
    def of(cls, points: Points) -> RowMoments:
        """Compute the moments of every row."""
        n, count = points.values.shape[:2]
        means = []
        spreads = []
        for block in blocks(np.arange(n)):
            x = points.rows(block).reshape(len(block), count, -1)
            mean = x.mean(axis=1)
            x -= mean[:, None]
            means.append(mean)
            spreads.append(np.einsum("rpc,rpc->rc", x, x))
        return cls(count, np.concatenate(means), np.concatenate(spreads))

    def scale(self, rows: IntArray) -> tuple[FloatArray, FloatArray]:
        """Compute the mean and deviation of each channel over the points of some rows.

        Args:
            rows: The rows.

        Returns:
            (mean, deviation), each (width,). The deviation of a constant channel is infinite:
            divided by it, its slope and its weight are 0.
        """
        of_rows = self.means[rows].astype(np.float64)
        mean = of_rows.mean(axis=0)
        within = self.spreads[rows].sum(axis=0, dtype=np.float64) / self.points
        between = np.square(of_rows - mean).sum(axis=0)
        deviation = np.sqrt(np.maximum((within + between) / len(rows), 1e-12))
        deviation[constant_channels(mean, deviation)] = np.inf
        return mean, deviation


@dataclass(frozen=True)
class Field:
    """The points of one pooling.

    Attributes:
        points: The points of every row.
    """

    points: Points
    _scales: dict[tuple[int, ...], tuple[FloatArray, FloatArray]] = field(
        default_factory=dict, compare=False
    )

    @property
    def width(self) -> int:
        """Channels and positions together."""
        return int(self.points.values.shape[2]) + POSITIONS

    @cached_property
    def moments(self) -> RowMoments:
        """Moments of the points of each row."""
        return RowMoments.of(self.points)

    @cached_property
    def correlations(self) -> FloatArray:
        """Correlations (width, width) of the channels over some rows, evenly spread: lower triangle."""
        n = len(self.points.values)
        rows = np.arange(0, n, max(1, -(-n // _CORRELATED_ROWS)))
        mean, deviation = (v.astype(np.float32) for v in self.moments.scale(np.arange(n)))
        out = np.zeros((self.width, self.width), dtype=np.float32, order="F")
        for block in blocks(rows):
            x = self.points.rows(block)
            x -= mean
            x /= deviation
            out = scipy.linalg.blas.ssyrk(1.0, x.T, beta=1.0, c=out, lower=1, overwrite_c=1)
        out /= len(rows) * self.moments.points
        return out

    @cached_property
    def factor(self) -> FloatArray:
        """The lower triangle L (width, width) of L L', correlations with a ridge, float64."""
        matrix = self.correlations.astype(np.float64, order="F")
        matrix[np.diag_indices(self.width)] += _RIDGE
        return np.asarray(
            scipy.linalg.cholesky(matrix, lower=True, overwrite_a=True, check_finite=False)
        )

    def scale(self, rows: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
        """``RowMoments.scale`` of some rows, which is computed once."""
        if rows not in self._scales:
            self._scales[rows] = self.moments.scale(np.array(rows))
        return self._scales[rows]

    def blocks(self, rows: IntArray) -> Iterator[IntArray]:
        """Divide rows into blocks whose points stay in the cache of a processor."""
        size = _CACHED // (self.points.values.shape[1] * self.width)
        return blocks(rows, min(max(size, 8), _MOST_ROWS))
