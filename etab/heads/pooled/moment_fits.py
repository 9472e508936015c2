"""Ridge fits of one candidate from second moments of its columns, for features narrower than rows
are many.

No label enters the moments. Rows are read some at a time, so that memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from etab.heads.pooled.candidates import LARGEST, inverse_deviations, sum_and_difference
from etab.heads.pooled.linalg import symmetric_axes
from etab.types import Array, FloatArray, IntArray

CHUNK = 2048
"""Rows that are read at once."""

KEPT = 1 << 22
"""Numbers of training rows up to which they are read once and kept."""


@dataclass(frozen=True, slots=True)
class MomentColumns:
    """The columns of one candidate: centred, scaled and, where standardised, limited features.

    Attributes:
        x: (n, d) features of all rows; they may be a view of a file.
        difference: Whether two frames side by side become their sum and their difference.
        mean: (d,) mean of the training rows.
        factors: (d,) factors of the centred features; 0 for a column that is dropped.
        largest: Limit of the absolute values of the columns.
        offset: (d,) mean of the limited columns over the training rows.
        axes: (d, r) principal axes that the columns are reduced to; None for all columns.
    """

    x: Array
    difference: bool
    mean: FloatArray
    factors: FloatArray
    largest: float = np.inf
    offset: FloatArray | float = 0.0
    axes: FloatArray | None = None

    @property
    def width(self) -> int:
        """Number of columns r."""
        return len(self.mean) if self.axes is None else self.axes.shape[1]

    def blocks(self, rows: IntArray) -> Iterator[tuple[slice, FloatArray]]:
        """Read rows, some at a time.

        Args:
            rows: Indexes of rows.

        Yields:
            Which of ``rows`` these are, and their columns (chunk, r).
        """
        for places, block in _read(self.x, rows, difference=self.difference):
            yield places, self.of_block(block)

    def of_block(self, block: FloatArray) -> FloatArray:
        """Columns (chunk, r) of some features (chunk, d)."""
        columns = (block - self.mean) * self.factors
        if np.isfinite(self.largest):
            columns = np.clip(columns, -self.largest, self.largest)
        columns -= self.offset
        return columns if self.axes is None else columns @ self.axes

    @classmethod
    def of(cls, x: Array, train: IntArray, *, difference: bool, standardise: bool) -> MomentColumns:
        """Centre or standardise features by their training rows.

        Args:
            x: (n, d) features of all rows.
            train: Training rows.
            difference: Whether two frames become their sum and their difference.
            standardise: Whether columns are standardised, not only centred.
        """
        width = x.shape[1]
        blocks = _reader(x, train, difference=difference)
        total = np.zeros(width)
        for _, block in blocks():
            total += block.sum(axis=0)
        mean = total / len(train)
        square = np.zeros(width)
        for _, block in blocks():
            square += np.square(block - mean).sum(axis=0)
        variance = square / len(train)
        if not standardise:
            length = max(float(np.sqrt(variance.sum())), 1e-30)
            return cls(x, difference, mean, np.full(width, 1 / length))
        limited = cls(x, difference, mean, inverse_deviations(variance, mean), LARGEST)
        offset = np.zeros(width)
        for _, block in blocks():
            offset += limited.of_block(block).sum(axis=0)
        return replace(limited, offset=offset / len(train))


def _reader(
    x: Array, rows: IntArray, *, difference: bool
) -> Callable[[], Iterable[tuple[slice, FloatArray]]]:
    """A function that reads rows, some at a time; few rows are read once, at the first call."""
    if len(rows) * x.shape[1] > KEPT:
        return lambda: _read(x, rows, difference=difference)
    kept = list(_read(x, rows, difference=difference))
    return lambda: kept


def _read(x: Array, rows: IntArray, *, difference: bool) -> Iterator[tuple[slice, FloatArray]]:
    """Read rows of features, some at a time, in double precision."""
    for start in range(0, len(rows), CHUNK):
        places = slice(start, min(start + CHUNK, len(rows)))
        block = np.asarray(x[rows[places]], dtype=np.float64)
        yield places, sum_and_difference(block) if difference else block


@dataclass(frozen=True, slots=True)
class MomentFits:
    """Everything about one candidate and one split that no label enters.

    Attributes:
        columns: How the columns are read.
        train: Training rows.
        test: Test rows.
        second: (r, r) second moments of the training rows, whose mean is 0.
        parts_first: For each inner part, (r,) sums of its columns.
        parts_second: For each inner part, (r, r) sums of products of its columns.
        fitted: (n, r) columns of the training rows; None where they are
            many or principal components, and are made when needed.
    """

    columns: MomentColumns
    train: IntArray
    test: IntArray
    second: FloatArray
    parts_first: tuple[FloatArray, ...]
    parts_second: tuple[FloatArray, ...]
    fitted: FloatArray | None

    @classmethod
    def of(
        cls,
        x: Array,
        train: IntArray,
        test: IntArray,
        parts: Sequence[IntArray],
        *,
        frames: int,
        standardise: bool,
        components: int | None,
    ) -> MomentFits:
        """Read the training rows.

        Args:
            x: (n, d) features of all rows.
            train: Training rows, which alone decide means, deviations and components.
            test: Test rows.
            parts: Indexes into ``train``, one array an inner part.
            frames: Number of frames side by side in a row.
            standardise: Whether columns are standardised; two frames then become their sum and
                difference.
            components: Number of principal components to reduce features to; None for none.
        """
        difference = standardise and frames == 2
        columns = MomentColumns.of(x, train, difference=difference, standardise=standardise)
        if components is not None:
            _, axes = symmetric_axes(_moments(columns.width, columns.blocks(train))[1])
            columns = replace(columns, axes=axes[:, ::-1][:, :components])
        fitted = None
        if columns.axes is None and len(train) * columns.width <= KEPT:
            fitted = np.concatenate([block for _, block in columns.blocks(train)])

        def moments(places: IntArray) -> tuple[FloatArray, FloatArray]:
            return _moments(columns.width, _blocks(columns, train, fitted, places))

        inner = [moments(part) for part in parts]
        rest = np.setdiff1d(np.arange(len(train)), np.concatenate(parts))
        second = moments(rest)[1]
        for _, products in inner:
            second = second + products
        firsts = tuple(first for first, _ in inner)
        seconds = tuple(products for _, products in inner)
        return cls(columns, train, test, second, firsts, seconds, fitted)

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take, without the features."""
        kept = 0 if self.fitted is None else self.fitted.nbytes
        return kept + self.second.nbytes * (1 + len(self.parts_second))

    def left_out(self, y: FloatArray, parts: Sequence[IntArray], penalty: float) -> FloatArray:
        """Predict every part by the ridge regression that is fitted without it.

        Args:
            y: (n, c) answers of the training rows.
            parts: The inner parts that the moments were made of, in that order.
            penalty: Penalty relative to the mean squared length of a row.

        Returns:
            (n, c) predictions; 0 for rows in no part.
        """
        return self.search(y, parts)(penalty)

    def search(self, y: FloatArray, parts: Sequence[IntArray]) -> Callable[[float], FloatArray]:
        """Prepare ``left_out`` for several penalties.

        The moments of a part are taken off those of all training rows.

        Args:
            y: (n, c) answers of the training rows.
            parts: The inner parts that the moments were made of, in that order.

        Returns:
            A function from a penalty to (n, c) predictions; 0 for rows in no part.
        """
        whole = self._products(np.arange(len(y)), y)
        systems = []
        for part, first, second in zip(parts, self.parts_first, self.parts_second, strict=True):
            n = len(y) - len(part)
            mean = -first / n
            answer = (y.sum(axis=0) - y[part].sum(axis=0)) / n
            others = self.second - second - n * np.outer(mean, mean)
            products = whole - self._products(part, y) - n * np.outer(mean, answer)
            systems.append((part, mean, answer, others.astype(np.float32), products))

        def predict(penalty: float) -> FloatArray:
            out = np.zeros(y.shape)
            for part, mean, answer, others, products in systems:
                weights = _solve(others, products, self._absolute(penalty))
                for places, block in self._blocks(part):
                    out[part[places]] = (block - mean) @ weights + answer
            return out

        return predict

    def predict(self, y: FloatArray, penalty: float) -> FloatArray:
        """Fit on all training rows, in double precision, and predict the test rows.

        Args:
            y: (n, c) answers of the training rows.
            penalty: Penalty relative to the mean squared length of a row.

        Returns:
            (m, c) predictions.
        """
        mean = y.mean(axis=0)
        products = self._products(np.arange(len(y)), y - mean)
        weights = _solve(self.second, products, self._absolute(penalty))
        out = np.empty((len(self.test), y.shape[1]))
        for places, block in self.columns.blocks(self.test):
            out[places] = block @ weights + mean
        return out

    def _blocks(self, places: IntArray) -> Iterator[tuple[slice, FloatArray]]:
        """Columns of some training rows, some at a time."""
        return _blocks(self.columns, self.train, self.fitted, places)

    def _products(self, places: IntArray, y: FloatArray) -> FloatArray:
        """(r, c) sums over some training rows of columns times answers."""
        total = np.zeros((len(self.second), y.shape[1]))
        for chunk, block in self._blocks(places):
            total += block.T @ y[places[chunk]]
        return total

    def _absolute(self, penalty: float) -> float:
        """A penalty in the units of the moments."""
        return penalty * max(float(np.trace(self.second)), 1e-30) / len(self.train)


def _blocks(
    columns: MomentColumns, train: IntArray, fitted: FloatArray | None, places: IntArray
) -> Iterator[tuple[slice, FloatArray]]:
    """Columns of the training rows at some places, some at a time: those kept, or read anew."""
    if fitted is None:
        yield from columns.blocks(train[places])
        return
    for start in range(0, len(places), CHUNK):
        chunk = slice(start, start + CHUNK)
        yield chunk, fitted[places[chunk]]


def _moments(
    width: int, blocks: Iterable[tuple[slice, FloatArray]]
) -> tuple[FloatArray, FloatArray]:
    """Sums (r,) of the columns of some rows, and sums (r, r) of their products."""
    first = np.zeros(width)
    second = np.zeros((width, width))
    for _, block in blocks:
        first += block.sum(axis=0)
        second += block.T @ block
    return first, second


def _solve(matrix: FloatArray, products: FloatArray, shift: float) -> FloatArray:
    """Solve (matrix + shift I) w = products in the precision of the matrix."""
    solve = scipy.linalg.lapack.sposv if matrix.dtype == np.float32 else scipy.linalg.lapack.dposv
    system = matrix.copy()
    system.flat[:: len(system) + 1] += matrix.dtype.type(shift)
    _, solution, failed = solve(system.T, products.astype(matrix.dtype), overwrite_a=1)
    if failed:
        # Rounding took the smallest eigenvalue below minus the shift.
        return np.asarray(scipy.linalg.lstsq(matrix + shift * np.eye(len(matrix)), products)[0])
    return np.asarray(solution)
