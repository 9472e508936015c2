"""Second moments of the points of feature maps, from which linear masks are fitted in closed form.

Moments are sums over rows, so the moments of a training set are the sum of the moments of its
parts. Results that do not depend on a label are kept for the next structure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy

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
        """Add other moments.

        Args:
            others: The moments of other points.

        Returns:
            The moments of all points.
        """
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
        """Add other sums.

        Args:
            others: The sums of other points.

        Returns:
            The sums of all points.
        """
        every = (self, *others)
        return LabelSums(
            y=sum(sums.y for sums in every),
            yy=sum(sums.yy for sums in every),
            xy=np.sum([sums.xy for sums in every], axis=0),
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
        n: Number of rows.
        cells: (n,) labels of a finer division, or None. With the cells of two protocols, both have
            the same parts.

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

    A fit on few patients then computes few parts.
    """

    def __init__(self, make: Callable[[IntArray], Any], parts: IntArray) -> None:
        """Take ``make``, which computes the value of some rows, and the part of each row."""
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
        second = scipy.linalg.blas.ssyrk(
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
        """Make the table of sums with a label ``y`` (n, points) over each part."""

        def sums(rows: IntArray) -> LabelSums:
            xy = np.zeros(())
            for block in blocks(rows):
                products = self.points.weighed(block, y[block])
                xy = xy + products.astype(np.float64)
            of_rows = y[rows]
            squares = np.square(of_rows)
            return LabelSums(float(of_rows.sum()), float(squares.sum()), np.asarray(xy))

        return PartTable(sums, self.parts)

    @property
    def nbytes(self) -> int:
        """Bytes of the moments and systems, without the points."""
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
        options = {}
        for i, layer in enumerate(self.points.layers):
            options[f"map{i}"] = np.r_[layer.start : layer.stop, position]
        if len(options) > 1:
            options["all maps"] = every
        return options

    def system(
        self, parts: tuple[int, ...], option: str
    ) -> tuple[IntArray, FloatArray, FloatArray, Tridiagonal]:
        """Return the linear system of an option over the rows of some parts.

        Returns:
            The channels of the option, their mean and deviation, and their correlations in
            tridiagonal form. The deviation of a constant channel is infinite, so that its weight is
            0.
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

        Args:
            parts: The parts of the training set.
            option: Name of the choice of maps, a key of ``options()``.
            labels: The sums of the label, from ``label``.

        Returns:
            The channels, weights (channels, penalties) on raw channels, and intercepts
            (penalties,).
        """
        index, mean, deviation, system = self.system(parts, option)
        n = sum(self.moments[k].n for k in parts)
        label = total_of([labels[k] for k in parts])
        covariance = label.xy[index] / n - mean * label.y / n
        standard = system.solve(covariance / deviation, MASK_PENALTIES)
        weights = standard / deviation[:, None]
        intercepts = label.y / n - mean @ weights
        return index, weights, intercepts

    def total(self, parts: tuple[int, ...]) -> Moments:
        """Add the moments of several parts; the last few sums are kept."""
        if parts not in self.sums:
            if len(self.sums) >= _TOTALS:
                oldest = next(iter(self.sums))
                self.sums.pop(oldest)
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
            fits: The result of ``solve`` for each option.
            labels: The sums of the label, from ``label``.

        Returns:
            (penalties,) for each option.
        """
        m = self.total(parts)
        label = total_of([labels[k] for k in parts])
        whole = m.second.astype(np.float64)
        out = {}
        for option, (index, w, b) in fits.items():
            quadratic = np.einsum(
                "cp,cp->p", w, scipy.linalg.blas.dsymm(1.0, submatrix(whole, index).T, w, lower=1)
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
    """Select rows and columns of a square matrix.

    Args:
        matrix: (n, n).
        index: Ascending indexes without repetition.

    Returns:
        (len(index), len(index)); the matrix itself where the index holds every row.
    """
    if len(index) == len(matrix):
        return matrix
    selected: FloatArray = matrix[np.ix_(index, index)]
    return selected


def standardised(
    second: FloatArray,
    n: float,
    mean: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Compute deviations and correlations of channels from second moments.

    The means are subtracted in double precision: in single precision, a channel far from 0 would
    lose its variance.

    Args:
        second: (channels, channels) sums of products, upper triangle.
        n: Number of points.
        mean: (channels,).

    Returns:
        (deviation, correlations): (channels,) and (channels, channels), upper triangle.
    """
    wide = scipy.linalg.blas.dsyr(
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
    """Divide ``rows`` into blocks of ``size``, in the given order."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
