"""Second moments of the points of feature maps, from which linear masks are fitted in closed form.

Moments add over patients, so that the moments of the rows of a fit are the sum of the moments of
the parts that make it up. What does not depend on a label is kept for the next structure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy import linalg

from etab.heads.masks.points import POSITIONS, Points
from etab.heads.pooled.linalg import Tridiagonal
from etab.types import Array, FloatArray, IntArray, RowSplit

MASK_PENALTIES: tuple[float, ...] = tuple(float(p) for p in np.logspace(-3.5, 1.9, 10))
# Rows whose points are in memory at once.
_CHUNK = 50
# Sets of parts whose total moments are kept.
_TOTALS = 3
# A channel whose deviation is a smaller share of its mean than this is constant: it was stored in
# half precision and its moments in single.
_STEADY = 1e-3
# Just above the deviation that `standardised` gives a channel that is 0 everywhere.
_DEAD = 1.1e-6
# Channels, weights (channels, penalties) and intercepts (penalties,) of a fit for each penalty.
LinearPath = tuple[IntArray, FloatArray, FloatArray]


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over points: their count, and the first and second moments of their features.

    ``second`` holds the upper triangle only.
    """

    n: float
    first: FloatArray
    second: FloatArray

    def plus(self, others: Sequence[Moments]) -> Moments:
        """Moments of all together."""
        first = self.first.copy()
        second = self.second.copy()
        for other in others:
            first += other.first
            second += other.second
        return Moments(self.n + sum(o.n for o in others), first, second)


@dataclass(frozen=True, slots=True)
class LabelSums:
    """Sums over points with a mask: of y, of y squared, and of x times y."""

    y: float
    yy: float
    xy: FloatArray

    def plus(self, others: Sequence[LabelSums]) -> LabelSums:
        """Sums of all together."""
        every = (self, *others)
        return LabelSums(
            sum(o.y for o in every), sum(o.yy for o in every), np.sum([o.xy for o in every], axis=0)
        )


def total_of(parts: Sequence[Any]) -> Any:
    """The sum of moments, or of label sums, of several parts."""
    return parts[0] if len(parts) == 1 else parts[0].plus(parts[1:])


def parts_of_rows(
    splits: Sequence[RowSplit],
    n: int,
    cells: Array | None,
) -> IntArray:
    """Number the parts of the rows such that every train and inner set is a union of parts.

    Args:
        splits: The fits.
        n: How many rows there are.
        cells: (n,) labels that cut finer, or None. With the cells of two protocols, both have the
            same parts.

    Returns:
        (n,) the part of each row, numbered from 0 as they appear.
    """
    marks = np.zeros(n, dtype=object)
    if cells is not None:
        marks = np.array([f"{c}" for c in cells], dtype=object)
    for i, split in enumerate(splits):
        sets = [("t", split.train), ("e", split.test)]
        sets += [(f"i{j}", part) for j, part in enumerate(split.inner)]
        for name, rows in sets:
            for row in rows:
                marks[row] = f"{marks[row] or ''}|{i}{name}"
    _, first, inverse = np.unique(
        marks.astype(str),
        return_index=True,
        return_inverse=True,
    )
    return np.argsort(np.argsort(first))[inverse]


class PartTable(dict[int, Any]):
    """A value for each part, computed when it is first read.

    A fit on few patients then leaves most parts alone.
    """

    def __init__(self, make: Callable[[IntArray], Any], parts: IntArray) -> None:
        """Take ``make``, which gives the value of some rows, and the part of each row."""
        super().__init__()
        self.make = make
        self.parts = parts

    def __missing__(self, k: int) -> Any:
        self[k] = self.make(np.flatnonzero(self.parts == k))
        return self[k]


def _moments(points: Points, rows: IntArray) -> Moments:
    """Moments of some rows.

    This is not a method of ``Design``: the design would then refer to itself, and its matrices
    would outlive it until the next collection of cycles.
    """
    width = int(points.values.shape[2]) + POSITIONS
    n = 0
    first = np.zeros(width)
    second = np.zeros((width, width), dtype=np.float32, order="F")
    for block in blocks(rows):
        x = points.rows(block)
        n = n + len(x)
        first = first + x.sum(axis=0, dtype=np.float64)
        second = linalg.blas.ssyrk(
            1.0,
            x.T,
            beta=1.0,
            c=second,
            lower=1,
            overwrite_c=1,
        )
    return Moments(n, first, second.T)


class Design:
    """The points and parts of some rows, and everything that follows from them without a label."""

    def __init__(self, points: Points, parts: IntArray) -> None:
        """Take the points of every row and the part (n,) of each row."""
        self.points = points
        self.parts = parts
        self.moments = PartTable(partial(_moments, points), parts)
        self.systems: dict[Any, Any] = {}
        self.sums: dict[tuple[int, ...], Moments] = {}

    def label(self, y: FloatArray) -> PartTable:
        """Sums with a label ``y`` (n, points), for every part."""

        def sums(rows: IntArray) -> LabelSums:
            xy = np.zeros(())
            for block in blocks(rows):
                xy = xy + self.points.weighed(block, y[block]).astype(np.float64)
            return LabelSums(float(y[rows].sum()), float(np.square(y[rows]).sum()), np.asarray(xy))

        return PartTable(sums, self.parts)

    @property
    def nbytes(self) -> int:
        """Memory that moments and systems take, without the points."""
        moments: int = sum(moments.second.nbytes for moments in self.moments.values())
        sums: int = sum(moments.second.nbytes for moments in self.sums.values())
        systems: int = sum(system[3].reflectors.nbytes for system in self.systems.values())
        return moments + sums + systems

    @property
    def width(self) -> int:
        """Channels and positions together."""
        return int(self.points.values.shape[2]) + POSITIONS

    def members(self, rows: IntArray) -> tuple[int, ...]:
        """The parts that make up a set of rows."""
        return tuple(int(k) for k in np.unique(self.parts[rows]))

    def options(self) -> dict[str, IntArray]:
        """Channels of each choice of layers: each map alone, and all together; positions always."""
        width = self.points.values.shape[2]
        position = np.arange(width, width + POSITIONS)
        every = np.arange(width + POSITIONS)
        alone = {
            f"map{i}": np.r_[s.start : s.stop, position] for i, s in enumerate(self.points.layers)
        }
        return {**alone, "all maps": every} if len(alone) > 1 else alone

    def system(
        self, parts: tuple[int, ...], option: str
    ) -> tuple[IntArray, FloatArray, FloatArray, Tridiagonal]:
        """Channels of an option, their mean and deviation, and their reduced correlations, over
        the rows of some parts.

        The deviation of a constant channel is infinite, so that its weight is 0.
        """
        key = (parts, option)
        if key not in self.systems:
            m = self.total(parts)
            index = self.options()[option]
            mean = m.first[index] / m.n
            deviation, correlations = standardised(submatrix(m.second, index), m.n, mean)
            constant = constant_channels(mean, deviation)
            # Their correlations are rounding errors, which other channels must not follow.
            correlations[constant] = 0
            correlations[:, constant] = 0
            deviation[constant] = np.inf
            self.systems[key] = (index, mean, deviation, Tridiagonal.of(correlations))
        system: tuple[IntArray, FloatArray, FloatArray, Tridiagonal] = self.systems[key]
        return system

    def solve(
        self,
        parts: tuple[int, ...],
        option: str,
        labels: PartTable,
    ) -> LinearPath:
        """Fit the least-squares mask of a training set, for every penalty.

        Returns:
            The channels, weights (channels, penalties) on raw channels, and intercepts
            (penalties,).
        """
        index, mean, deviation, system = self.system(parts, option)
        n = sum(self.moments[k].n for k in parts)
        label = total_of([labels[k] for k in parts])
        weights = (
            system.solve((label.xy[index] / n - mean * label.y / n) / deviation, MASK_PENALTIES)
            / deviation[:, None]
        )
        return index, weights, label.y / n - mean @ weights

    def total(self, parts: tuple[int, ...]) -> Moments:
        """Moments of several parts together; those of the last few sets of parts are kept."""
        if parts not in self.sums:
            if len(self.sums) >= _TOTALS:
                self.sums.pop(next(iter(self.sums)))
            self.sums[parts] = total_of([self.moments[k] for k in parts])
        return self.sums[parts]

    def squared_errors(
        self,
        parts: tuple[int, ...],
        fits: dict[str, LinearPath],
        labels: PartTable,
    ) -> dict[str, FloatArray]:
        """Sum of squared errors over the points of some parts, from their moments.

        Args:
            parts: The parts to predict.
            fits: What ``solve`` gives, for each option.
            labels: What ``label`` gives.

        Returns:
            (penalties,) for each option.
        """
        m = self.total(parts)
        label = total_of([labels[k] for k in parts])
        whole = m.second.astype(np.float64)
        out = {}
        for option, (index, w, b) in fits.items():
            quadratic = np.einsum(
                "cp,cp->p", w, linalg.blas.dsymm(1.0, submatrix(whole, index).T, w, lower=1)
            )
            cross = w.T @ label.xy[index]
            out[option] = (
                quadratic
                + 2 * b * (w.T @ m.first[index])
                + m.n * b * b
                - 2 * (cross + b * label.y)
                + label.yy
            )
        return out


def constant_channels(mean: FloatArray, deviation: FloatArray) -> Array:
    """Find the channels that are constant but for rounding.

    Args:
        mean: (channels,) mean of each channel.
        deviation: (channels,) its standard deviation, as ``standardised`` computes it.

    Returns:
        (channels,) booleans.

    Example:
        >>> constant_channels(np.array([7.0, 7.0]), np.array([2.0, 0.001])).tolist()
        [False, True]
    """
    return np.asarray(deviation <= np.maximum(_STEADY * np.abs(mean), _DEAD))


def submatrix(matrix: FloatArray, index: IntArray) -> FloatArray:
    """Rows and columns ``index``, which rise, of a square matrix; the matrix itself where the index
    names all.
    """
    return matrix if len(index) == len(matrix) else matrix[np.ix_(index, index)]


def standardised(
    second: FloatArray,
    n: float,
    mean: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Deviations and correlations (upper triangle) of channels from second moments of ``n`` points.

    The means are subtracted in double precision: in single precision, a channel far from 0 would
    lose its variance.
    """
    wide = linalg.blas.dsyr(
        -n,
        mean,
        lower=1,
        a=second.astype(np.float64).T,
        overwrite_a=1,
    ).T
    deviation = np.sqrt(np.maximum(np.diag(wide) / n, 1e-12))
    out = wide.astype(np.float32)
    scale = (1 / (deviation * np.sqrt(n))).astype(np.float32)
    out *= scale[:, None]
    out *= scale
    return deviation, out


def blocks(rows: IntArray, size: int = _CHUNK) -> Iterator[IntArray]:
    """Rows in the order given, ``size`` of them at once."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
