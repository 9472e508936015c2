"""Probes on many rows: the same fits as from a kernel of all pairs, from moments of the features.

A kernel has n x n entries. Above ``LIMIT`` rows, where there are fewer features than rows, the
d x d moments of parts of the rows take its place. The moments of a training set are the sum of the
moments of its parts. Predictions equal those from the kernel up to rounding, in memory that is
proportional to n.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from etab.heads.pooled.shifted import solve_one, solve_path
from etab.splits import without
from etab.types import Array, FloatArray, IntArray, RowSplit

LIMIT = 5000
"""Largest number of rows that a kernel is made of."""

_CHUNK = 2048
_BASES_KEPT = 12
# Parts whose moments are kept. Inner parts that cross each other cut the rows into hundreds.
_MOST_PARTS = 32


def wide(x: Array) -> bool:
    """Whether features (n, d) are fitted from moments.

    This is so where they have more rows than ``LIMIT``, and fewer columns than rows.
    """
    return len(x) > LIMIT and x.shape[1] < len(x)


def partition(splits: Sequence[RowSplit], n: int) -> IntArray:
    """Divide the rows into the largest parts that no training, test or inner set cuts.

    Args:
        splits: The splits.
        n: Number of rows.

    Returns:
        (n,) number of the part of each row, from 0.
    """
    sets: list[IntArray] = []
    for split in splits:
        sets += [split.train, split.test, *split.inner]
    marks = np.zeros((n, len(sets)), dtype=bool)
    for column, rows in enumerate(sets):
        marks[rows, column] = True
    codes = np.packbits(marks, axis=1)
    _, parts = np.unique(codes, axis=0, return_inverse=True)
    return np.asarray(parts).ravel()


@dataclass(frozen=True, slots=True)
class _Moments:
    """Number of rows, sums (d,) of their columns, and sums (d, d) of products of columns."""

    n: int
    first: FloatArray
    second: FloatArray

    @property
    def scatter(self) -> FloatArray:
        """Sums (d, d) of products of columns whose means are subtracted."""
        mean = self.first / self.n
        scatter = np.outer(mean, mean)
        scatter *= -self.n
        scatter += self.second
        return scatter


@dataclass(frozen=True, slots=True)
class WideBasis:
    """Principal axes of training rows, the longest first.

    Attributes:
        home: The features of all rows.
        rows: The training rows.
        mean: (d,) their mean.
        spread: (r,) squared length of the training rows along each axis.
        axes: (d, r) the axes.
    """

    home: Wide
    rows: IntArray
    mean: FloatArray
    spread: FloatArray
    axes: FloatArray

    @property
    def train(self) -> FloatArray:
        """The training rows in the basis, (n, r)."""
        return self.project(None, self.rows)

    def first(self, components: int | None) -> WideBasis:
        """Keep the longest axes; None keeps all of them."""
        if components is None or components >= len(self.spread):
            return self
        return replace(
            self,
            spread=self.spread[:components],
            axes=self.axes[:, :components],
        )

    def project(self, _: object, rows: IntArray) -> FloatArray:
        """Compute the coordinates (m, r) of ``rows``, centred by the training rows.

        The first argument (_) has the place of the kernel of ``Basis.project`` and is ignored.
        """
        out = np.empty((len(rows), self.axes.shape[1]), dtype=self.axes.dtype)
        for chunk, x in self.home.chunks(rows):
            centred = (x - self.mean).astype(self.axes.dtype)
            np.matmul(centred, self.axes, out=out[chunk])
        return out

    def along(self, y: FloatArray) -> FloatArray:
        """Inner product of each axis with a value of each training row: (r,)."""
        total = np.zeros(self.axes.shape[0])
        for chunk, x in self.home.chunks(self.rows):
            total += (x - self.mean).T @ y[chunk].astype(np.float64)
        return np.asarray(self.axes.T @ total.astype(self.axes.dtype))

    def predict(
        self,
        _: object,
        rows: IntArray,
        path: FloatArray,
    ) -> FloatArray:
        """Predict (m, ...) for ``rows`` from the coefficients ``path`` (r, ...) in the basis.

        The first argument (_) has the place of the kernel of ``Basis.predict`` and is ignored.
        """
        weights = self.axes.astype(np.float64) @ path.astype(np.float64)
        return np.concatenate([(x - self.mean) @ weights for _, x in self.home.chunks(rows)])


class Wide:
    """Features (n, d) of all rows, shifted and scaled as in ``gram``, with moments of parts."""

    def __init__(self, x: Array, parts: IntArray) -> None:
        """Read the features once.

        Args:
            x: (n, d) features; they may be a view of a file.
            parts: (n,) part of each row, from ``partition``.
        """
        self.x = x
        self.parts = parts
        everyone = np.arange(len(x))
        total = np.zeros(x.shape[1])
        for _, block in self._raw(everyone):
            total = total + block.sum(axis=0)
        self.shift = total / len(x)
        square = 0.0
        for _, block in self._raw(everyone):
            square += float(np.square(block - self.shift).sum())
        self.scale = max(float(np.sqrt(square / max(len(x), 1))), 1e-15)
        self._parts: list[_Moments] | None = None
        self._bases: OrderedDict[tuple[bytes, bool], WideBasis] = OrderedDict()

    def _raw(self, rows: IntArray) -> Iterator[tuple[slice, FloatArray]]:
        for start in range(0, len(rows), _CHUNK):
            chunk = slice(start, min(start + _CHUNK, len(rows)))
            yield chunk, np.asarray(self.x[rows[chunk]], dtype=np.float64)

    def chunks(self, rows: IntArray) -> Iterator[tuple[slice, FloatArray]]:
        """Read rows, some at a time.

        Args:
            rows: Indexes of rows.

        Yields:
            Which of ``rows`` these are, and their features (chunk, d) in double precision.
        """
        for chunk, block in self._raw(rows):
            yield chunk, (block - self.shift) / self.scale

    def basis(self, rows: IntArray, *, single: bool = False) -> WideBasis:
        """Compute the principal axes of training rows, or return them where they were computed
        lately.

        Args:
            rows: Training rows.
            single: Whether single precision is enough.
        """
        place = (rows.tobytes(), single)
        if place not in self._bases:
            total = self.total(rows)
            mean = total.first / total.n
            scatter = total.scatter.astype(np.float32) if single else total.scatter
            values, axes = scipy.linalg.eigh(
                scatter,
                driver="evd",
                check_finite=False,
                overwrite_a=True,
            )
            keep = np.flatnonzero(
                values > max(float(values[-1]), 1e-30) * (1e-6 if single else 1e-9)
            )[::-1]
            self._bases[place] = WideBasis(
                self, rows, mean, values[keep], np.ascontiguousarray(axes[:, keep])
            )
            while len(self._bases) > _BASES_KEPT:
                self._bases.popitem(last=False)
        self._bases.move_to_end(place)
        return self._bases[place]

    def mean_square(self, rows: IntArray) -> float:
        """Mean squared length of the centred rows."""
        total = self.total(rows)
        return float(np.trace(total.second) / total.n - np.square(total.first / total.n).sum())

    def total(self, rows: IntArray) -> _Moments:
        """Moments of a set of rows.

        They are the sum of the moments of its parts. Where the set cuts a part, or there are too
        many parts, the rows are read.
        """
        members = self.members(rows)
        if members is None:
            return self._moments(rows)
        if self._parts is None:
            count = int(self.parts.max()) + 1
            self._parts = [self._moments(np.flatnonzero(self.parts == k)) for k in range(count)]
        moments = [self._parts[k] for k in members]
        first = np.sum([of_part.first for of_part in moments], axis=0)
        second = moments[0].second.copy()
        for of_part in moments[1:]:
            second += of_part.second
        return _Moments(len(rows), first, second)

    def members(self, rows: IntArray) -> IntArray | None:
        """Find the parts that make up a set of rows.

        Args:
            rows: Indexes of rows.

        Returns:
            Numbers of parts; None where the set cuts a part, or there are too many parts.
        """
        if int(self.parts.max()) + 1 > _MOST_PARTS:
            return None
        members: IntArray = np.unique(self.parts[rows])
        if int(np.isin(self.parts, members).sum()) != len(rows):
            return None
        return members

    def _moments(self, rows: IntArray) -> _Moments:
        width = self.x.shape[1]
        first = np.zeros(width)
        second = np.zeros((width, width), order="F")
        for _, block in self.chunks(rows):
            first += block.sum(axis=0)
            second = scipy.linalg.blas.dsyrk(
                1.0,
                block.T,
                beta=1.0,
                c=second,
                overwrite_c=1,
            )
        # The product fills the upper triangle; the lower one holds zeros.
        whole = second + second.T
        np.fill_diagonal(whole, np.diag(second))
        return _Moments(len(rows), first, whole)


class WideRidge:
    """Ridge regressions for every penalty, each by a Cholesky factor of the moments.

    Ten factors take a fifth of the time of the axes of a matrix, and a final fit needs but one.
    """

    def __init__(
        self,
        home: Wide,
        y: FloatArray,
        penalties: Sequence[float],
    ) -> None:
        """Take the moments of one key.

        Args:
            home: The features of all rows.
            y: (n,) values of all rows.
            penalties: Penalties relative to the mean squared length of a row.
        """
        self.home = home
        self.y = y
        self.penalties = penalties
        self._paths: dict[bytes, tuple[FloatArray, FloatArray, float]] = {}
        self._centre = float(y.mean())
        self._of_parts: dict[int, FloatArray] = {}

    def inner_errors(self, split: RowSplit) -> FloatArray:
        """Mean absolute error of each penalty over the inner parts of a split: (penalties,)."""
        total = np.zeros(len(self.penalties))
        for part in split.inner:
            rows = without(split.train, part)
            mean, weights, intercept = self._path(rows)
            for chunk, x in self.home.chunks(part):
                predicted = (x - mean) @ weights + intercept
                total += np.abs(predicted - self.y[part[chunk], None]).sum(axis=0)
        return np.asarray(total / sum(len(part) for part in split.inner))

    def predict(
        self,
        train: IntArray,
        test: IntArray,
        which: int,
    ) -> FloatArray:
        """Fit with one penalty, in double precision, and predict other rows.

        Args:
            train: Training rows.
            test: Rows to predict.
            which: Index of the penalty.

        Returns:
            (len(test),) predictions.
        """
        mean, scatter, products, intercept = self._system(train)
        shift = self.penalties[which] * _mean_length(scatter, len(train))
        weights = solve_one(scatter, shift, products)
        return np.concatenate([(x - mean) @ weights + intercept for _, x in self.home.chunks(test)])

    def _path(self, rows: IntArray) -> tuple[FloatArray, FloatArray, float]:
        """Mean (d,) of training rows, weights (d, penalties) and intercept.

        Leaving out folds j and k is one fit, whichever of them is the outer one.
        """
        key = rows.tobytes()
        if key not in self._paths:
            mean, scatter, products, intercept = self._system(rows)
            shifts = np.asarray(self.penalties) * _mean_length(scatter, len(rows))
            self._paths[key] = (mean, solve_path(scatter, shifts, products), intercept)
        return self._paths[key]

    def _system(self, rows: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        """Mean (d,) of rows, scatter (d, d), products with the values (d,) and mean value."""
        total = self.home.total(rows)
        mean = total.first / total.n
        scatter = total.scatter
        intercept = float(self.y[rows].mean())
        products = self._products(rows) - total.first * (intercept - self._centre)
        return mean, scatter, products, intercept

    def _products(self, rows: IntArray) -> FloatArray:
        """Sums (d,) over rows of their columns times their values; those of parts are kept."""
        members = self.home.members(rows)
        if members is None:
            return self._read_products(rows)
        for k in members.tolist():
            if k not in self._of_parts:
                self._of_parts[k] = self._read_products(np.flatnonzero(self.home.parts == k))
        return np.asarray(np.sum([self._of_parts[k] for k in members.tolist()], axis=0))

    def _read_products(self, rows: IntArray) -> FloatArray:
        """Sums (d,) over rows of their columns times their values, less the mean of all values."""
        products = np.zeros(self.home.x.shape[1])
        for chunk, x in self.home.chunks(rows):
            products += (self.y[rows[chunk]] - self._centre) @ x
        return products


def _mean_length(scatter: FloatArray, n: int) -> float:
    """Mean squared length of ``n`` rows, from their scatter."""
    return max(float(np.trace(scatter)), 1e-30) / n


def nearest_rows(
    home: Wide,
    train: IntArray,
    rows: IntArray,
    components: int | None,
    k: int,
) -> IntArray:
    """Find the training rows that are nearest by cosine, in single precision.

    Args:
        home: The features of all rows, which are centred by the training rows here.
        train: Training rows.
        rows: The m rows whose neighbours are wanted.
        components: Number of principal components to compare by; None compares all columns.
        k: Number of neighbours.

    Returns:
        (m, k) indexes into ``train``, the nearest first.
    """
    k = min(k, len(train))
    neighbours = []
    moments = home.total(train)
    mean = moments.first / moments.n
    axes: FloatArray = np.zeros((len(mean), 0))
    if components is not None:
        axes = home.basis(train).first(components).axes
    known = _units(home, mean, axes, train)
    for start in range(0, len(rows), _CHUNK):
        near = _units(home, mean, axes, rows[start : start + _CHUNK]) @ known.T
        nearest_k = np.sort(np.argpartition(-near, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(
            -np.take_along_axis(near, nearest_k, axis=1),
            axis=1,
            kind="stable",
        )
        neighbours.append(np.take_along_axis(nearest_k, order, axis=1))
    return np.concatenate(neighbours)


def _units(
    home: Wide,
    mean: FloatArray,
    axes: FloatArray,
    rows: IntArray,
) -> FloatArray:
    """Centred rows of length 1, (m, d) float32; (m, components) where there are axes (d,
    components).
    """
    out = np.empty((len(rows), axes.shape[1] or len(mean)), dtype=np.float32)
    for chunk, x in home.chunks(rows):
        z = (x - mean) @ axes if axes.size else x - mean
        out[chunk] = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return out
