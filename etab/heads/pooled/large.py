"""Probes on more rows than a kernel of all pairs is good for: the same fits from moments of the
features.

A kernel holds n x n numbers; above ``LIMIT`` rows, where the features are narrower than the rows
are many, everything comes from the d x d moments of parts of the rows instead. Moments add: each
training set is a sum of parts. Answers are those of the kernel to rounding, in memory that grows
with n alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import linalg

from etab.splits import without
from etab.types import Array, FloatArray, IntArray, RowSplit

LIMIT = 5000
_CHUNK = 2048
_BASES_KEPT = 12
# Parts whose moments are kept. Inner parts that cross each other cut the rows into hundreds.
_MOST_PARTS = 32
# Share of the norm of a matrix that single precision may turn its eigenvalues by.
_SAFE_SHIFT = 1e-5


def wide(x: Array) -> bool:
    """Whether features (n, d) are for moments: more rows than ``LIMIT``, and fewer columns than
    rows.
    """
    return len(x) > LIMIT and x.shape[1] < len(x)


def partition(splits: Sequence[RowSplit], n: int) -> IntArray:
    """(n,) the finest part each row belongs to, so that every training and inner set is a union of
    parts.
    """
    sets = [rows for s in splits for rows in (s.train, s.test, *s.inner)]
    marks = np.zeros((n, len(sets)), dtype=bool)
    for column, rows in enumerate(sets):
        marks[rows, column] = True
    return np.asarray(np.unique(np.packbits(marks, axis=1), axis=0, return_inverse=True)[1]).ravel()


@dataclass(frozen=True, slots=True)
class _Moments:
    n: int
    first: FloatArray
    second: FloatArray


@dataclass(frozen=True, slots=True)
class WideBasis:
    """Principal axes (d, r) of training rows, the longest first, with their squared lengths
    ``spread`` (r,).
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
        """Only the longest axes; all of them for None."""
        if components is None or components >= len(self.spread):
            return self
        return replace(self, spread=self.spread[:components], axes=self.axes[:, :components])

    def project(self, _: object, rows: IntArray) -> FloatArray:
        """Coordinates (m, r) of rows, centred by the training rows alone."""
        out = np.empty((len(rows), self.axes.shape[1]), dtype=self.axes.dtype)
        for at, x in self.home.chunks(rows):
            np.matmul((x - self.mean).astype(self.axes.dtype), self.axes, out=out[at])
        return out

    def along(self, y: FloatArray) -> FloatArray:
        """Inner product of each axis with a value of each training row: (r,)."""
        total = np.zeros(self.axes.shape[0])
        for at, x in self.home.chunks(self.rows):
            total += (x - self.mean).T @ y[at].astype(np.float64)
        return np.asarray(self.axes.T @ total.astype(self.axes.dtype))

    def predict(self, _: object, rows: IntArray, path: FloatArray) -> FloatArray:
        """Predictions (m, ...) of coefficients (r, ...) in the basis."""
        weights = self.axes.astype(np.float64) @ path.astype(np.float64)
        return np.concatenate([(x - self.mean) @ weights for _, x in self.home.chunks(rows)])


class Wide:
    """Features (n, d) of all rows, shifted and scaled as ``gram`` does it, with the moments of the
    parts of their rows.
    """

    def __init__(self, x: Array, parts: IntArray) -> None:
        """Read the features once; ``parts`` (n,) as ``partition`` gives them."""
        self.x, self.parts = x, parts
        self.shift = sum(
            (b.sum(axis=0) for _, b in self._raw(np.arange(len(x)))), np.zeros(x.shape[1])
        ) / len(x)
        square = sum(
            float(np.square(b - self.shift).sum()) for _, b in self._raw(np.arange(len(x)))
        )
        self.scale = max(float(np.sqrt(square / max(len(x), 1))), 1e-15)
        self._parts: list[_Moments] | None = None
        self._bases: OrderedDict[tuple[bytes, bool], WideBasis] = OrderedDict()

    def _raw(self, rows: IntArray) -> Iterator[tuple[slice, FloatArray]]:
        for start in range(0, len(rows), _CHUNK):
            at = slice(start, min(start + _CHUNK, len(rows)))
            yield at, np.asarray(self.x[rows[at]], dtype=np.float64)

    def chunks(self, rows: IntArray) -> Iterator[tuple[slice, FloatArray]]:
        """Some rows (chunk, d) at a time, float64, with their place among ``rows``."""
        for at, block in self._raw(rows):
            yield at, (block - self.shift) / self.scale

    def basis(self, rows: IntArray, *, single: bool = False) -> WideBasis:
        """Axes of these training rows, from their moments; ``single`` in single precision. The last
        few are kept.
        """
        place = (rows.tobytes(), single)
        if place not in self._bases:
            found = self.total(rows)
            mean = found.first / found.n
            scatter = found.second - found.n * np.outer(mean, mean)
            scatter = scatter.astype(np.float32) if single else scatter
            values, axes = linalg.eigh(scatter, driver="evd", check_finite=False, overwrite_a=True)
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
        found = self.total(rows)
        return float(np.trace(found.second) / found.n - np.square(found.first / found.n).sum())

    def total(self, rows: IntArray) -> _Moments:
        """Moments of a set of rows: the sum of those of its parts, or of the rows themselves where
        it cuts one.
        """
        count = int(self.parts.max()) + 1
        if count > _MOST_PARTS:
            return self._moments(rows)
        mine = np.unique(self.parts[rows])
        if int(np.isin(self.parts, mine).sum()) != len(rows):
            return self._moments(rows)
        if self._parts is None:
            self._parts = [self._moments(np.flatnonzero(self.parts == k)) for k in range(count)]
        some = [self._parts[k] for k in mine]
        return _Moments(
            len(rows),
            np.sum([m.first for m in some], axis=0),
            sum((m.second for m in some[1:]), some[0].second),
        )

    def _moments(self, rows: IntArray) -> _Moments:
        width = self.x.shape[1]
        first = np.zeros(width)
        second = np.zeros((width, width), order="F")
        for _, block in self.chunks(rows):
            first += block.sum(axis=0)
            second = linalg.blas.dsyrk(1.0, block.T, beta=1.0, c=second, overwrite_c=1)
        return _Moments(len(rows), first, np.triu(second) + np.triu(second, 1).T)


class WideRidge:
    """Ridge regressions for every penalty, each by a Cholesky factor of the moments.

    Ten factors take a fifth of the time of the axes of a matrix, and a final fit needs but one.
    """

    def __init__(self, home: Wide, y: FloatArray, penalties: Sequence[float]) -> None:
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

    def inner_errors(self, split: RowSplit) -> FloatArray:
        """Mean absolute error of each penalty over the inner parts of a split: (penalties,)."""
        total = np.zeros(len(self.penalties))
        for part in split.inner:
            rows = without(split.train, part)
            mean, weights, intercept = self._path(rows)
            for at, x in self.home.chunks(part):
                predicted = (x - mean) @ weights + intercept
                total += np.abs(predicted - self.y[part[at], None]).sum(axis=0)
        return np.asarray(total / sum(len(part) for part in split.inner))

    def predict(self, train: IntArray, test: IntArray, which: int) -> FloatArray:
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
        weights = _solve_shifted(scatter, shift, products)
        return np.concatenate([(x - mean) @ weights + intercept for _, x in self.home.chunks(test)])

    def _path(self, rows: IntArray) -> tuple[FloatArray, FloatArray, float]:
        """Mean (d,) of training rows, weights (d, penalties) and intercept.

        Leaving out folds j and k is one fit, whichever of them is the outer one.
        """
        key = rows.tobytes()
        if key not in self._paths:
            mean, scatter, products, intercept = self._system(rows)
            single = scatter.astype(np.float32)
            # Rounding moves eigenvalues by about this much: only larger shifts are safe from it.
            safe = _SAFE_SHIFT * float(np.linalg.norm(single))
            weights = np.empty((len(products), len(self.penalties)))
            for k, penalty in enumerate(self.penalties):
                shift = penalty * _mean_length(scatter, len(rows))
                matrix = single if shift > safe else scatter
                weights[:, k] = _solve_shifted(matrix, shift, products)
            self._paths[key] = (mean, weights, intercept)
        return self._paths[key]

    def _system(self, rows: IntArray) -> tuple[FloatArray, FloatArray, FloatArray, float]:
        """Mean (d,) of rows, scatter (d, d), products with the values (d,) and mean value."""
        found = self.home.total(rows)
        mean = found.first / found.n
        scatter = found.second - found.n * np.outer(mean, mean)
        intercept = float(self.y[rows].mean())
        products = np.zeros(len(mean))
        for at, x in self.home.chunks(rows):
            products += (self.y[rows[at]] - intercept) @ (x - mean)
        return mean, scatter, products, intercept


def _mean_length(scatter: FloatArray, n: int) -> float:
    """Mean squared length of ``n`` rows, from their scatter."""
    return max(float(np.trace(scatter)), 1e-30) / n


def _solve_shifted(matrix: FloatArray, shift: float, products: FloatArray) -> FloatArray:
    """Solve (matrix + shift I) w = products (d,) in the precision of the matrix."""
    system = matrix.copy()
    system.flat[:: len(system) + 1] += matrix.dtype.type(shift)
    right = products.astype(matrix.dtype)
    try:
        factor = linalg.cho_factor(system.T, lower=True, overwrite_a=True, check_finite=False)
        return np.asarray(linalg.cho_solve(factor, right, check_finite=False))
    except linalg.LinAlgError:
        # Rounding took the smallest eigenvalue below minus the shift.
        exact = matrix.astype(np.float64) + shift * np.eye(len(matrix))
        return np.asarray(linalg.lstsq(exact, products)[0])


def nearest(
    home: Wide, train: IntArray, rows: IntArray, components: int | None, k: int
) -> IntArray:
    """The k training rows nearest by cosine to each of ``rows``, nearest first: (m, k) indexes into
    ``train``.

    Both are centred by the training rows; with ``components`` they are first put on that many
    principal axes. Some rows at a time, in single precision.
    """
    k = min(k, len(train))
    found = []
    moments = home.total(train)
    mean = moments.first / moments.n
    axes: FloatArray = np.zeros((len(mean), 0))
    if components is not None:
        axes = home.basis(train).first(components).axes
    known = _units(home, mean, axes, train)
    for start in range(0, len(rows), _CHUNK):
        near = _units(home, mean, axes, rows[start : start + _CHUNK]) @ known.T
        some = np.sort(np.argpartition(-near, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(-np.take_along_axis(near, some, axis=1), axis=1, kind="stable")
        found.append(np.take_along_axis(some, order, axis=1))
    return np.concatenate(found)


def _units(home: Wide, mean: FloatArray, axes: FloatArray, rows: IntArray) -> FloatArray:
    """Centred rows of length 1, (m, d) float32; (m, components) where there are axes (d,
    components).
    """
    out = np.empty((len(rows), axes.shape[1] or len(mean)), dtype=np.float32)
    for at, x in home.chunks(rows):
        z = (x - mean) @ axes if axes.size else x - mean
        out[at] = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    return out
