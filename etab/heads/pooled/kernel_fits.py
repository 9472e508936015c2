"""Ridge fits of one candidate from inner products of rows, for features wider than rows are many.

No label enters the inner products, so that all tasks on the same rows share them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from etab.heads.pooled.candidates import LARGEST, inverse_deviations, sum_and_difference
from etab.heads.pooled.linalg import gram, symmetric_axes
from etab.types import Array, FloatArray, IntArray

_COLUMNS = 2048
"""Columns that are multiplied at once. Each block is summed in single precision, and the blocks in
double precision."""

MANY = 5
"""From a fifth of all principal components on, computing all of them at once is faster."""

FAR_LONGER = 100.0
"""Rows this much longer (squared) than the median row take raw features to double precision."""


@dataclass(frozen=True, slots=True)
class KernelFits:
    """Everything about one candidate and one split that no label enters.

    Attributes:
        train: (n, n) inner products of the training rows, centred by their mean.
        test: (m, n) inner products of the test rows with the training rows, centred likewise.
    """

    train: FloatArray
    test: FloatArray | StandardisedTest

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take."""
        return self.train.nbytes + self.test.nbytes

    def left_out(self, y: FloatArray, parts: Sequence[IntArray], penalty: float) -> FloatArray:
        """Predict every part by the ridge regression that is fitted without it.

        Args:
            y: (n, c) answers of the training rows.
            parts: Indexes into the training rows, one array a part.
            penalty: Penalty relative to the mean squared length of a row.

        Returns:
            (n, c) predictions; 0 for rows in no part.
        """
        return self.search(y, parts)(penalty)

    def search(self, y: FloatArray, parts: Sequence[IntArray]) -> Callable[[float], FloatArray]:
        """Prepare ``left_out`` for several penalties; single precision is enough to choose by.

        Args:
            y: (n, c) answers of the training rows.
            parts: Indexes into the training rows, one array a part.

        Returns:
            A function from a penalty to (n, c) predictions; 0 for rows in no part.
        """
        single = self.train.astype(np.float32)
        mean = y.mean(axis=0)
        answers = (y - mean).astype(np.float32)
        blocks = []
        for part in parts:
            rest = np.setdiff1d(np.arange(len(y)), part)
            right = np.concatenate([answers[rest], np.ones((len(rest), 1), np.float32)], axis=1)
            of_rest = single.take(rest, axis=1)
            blocks.append((part, of_rest.take(rest, axis=0), of_rest.take(part, axis=0), right))

        def predict(penalty: float) -> FloatArray:
            shift = self._absolute(penalty)
            out = np.zeros(y.shape)
            for part, inside, across, right in blocks:
                solved = solve_shifted(inside, shift, right)
                # The intercept makes the dual coefficients of every answer add up to 0.
                intercept = solved[:, :-1].sum(axis=0) / solved[:, -1].sum()
                dual = solved[:, :-1] - np.outer(solved[:, -1], intercept)
                out[part] = across @ dual + intercept + mean
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
        system = self.train.copy()
        system.flat[:: len(system) + 1] += self._absolute(penalty)
        dual = scipy.linalg.cho_solve(scipy.linalg.cho_factor(system, overwrite_a=True), y - mean)
        return np.asarray(mean + self.test @ dual)

    @property
    def length(self) -> float:
        """Mean squared length of a training row, which penalties are relative to."""
        return max(float(np.trace(self.train)), 1e-30) / len(self.train)

    def _absolute(self, penalty: float) -> float:
        """A penalty in the units of the inner products."""
        return penalty * max(float(np.trace(self.train)), 1e-30) / len(self.train)


def solve_shifted(products: FloatArray, shift: float, right: FloatArray) -> FloatArray:
    """Solve (products + shift I) x = right in single precision."""
    system = products.copy()
    system.flat[:: len(system) + 1] += np.float32(shift)
    _, solution, failed = scipy.linalg.lapack.sposv(system.T, right, lower=1, overwrite_a=1)
    if failed:
        # Rounding to single precision took the smallest eigenvalue below minus the shift.
        exact = products.astype(np.float64) + shift * np.eye(len(products))
        return np.asarray(scipy.linalg.lstsq(exact, right)[0])
    return np.asarray(solution)


def principal_components(
    train: FloatArray, test: FloatArray, components: int
) -> tuple[FloatArray, FloatArray]:
    """Compute principal components from centred inner products.

    Args:
        train: (n, n) inner products of the training rows.
        test: (m, n) inner products of the test rows with them.
        components: Number of components, at most n.

    Returns:
        (n, k) of the training rows and (m, k) of the test rows, the longest first. k is smaller
        than ``components`` where the training rows span less.
    """
    first = max(0, len(train) - components)
    if MANY * components >= len(train):
        values, axes = symmetric_axes(train.copy())
        values = values[first:]
        axes = axes[:, first:]
    else:
        values, axes = scipy.linalg.eigh(
            train, subset_by_index=[first, len(train) - 1], check_finite=False
        )
    longest = np.flatnonzero(values > max(float(values[-1]), 1e-30) * 1e-9)[::-1]
    lengths = np.sqrt(values[longest])
    return axes[:, longest] * lengths, test @ axes[:, longest] / lengths


def raw_products(x: Array) -> FloatArray:
    """Inner products (n, n) of all rows, shifted and scaled alike, which changes no fit.

    Single precision is enough unless some rows are far longer than the others.
    """
    peak = max(float(np.abs(x).max(initial=0.0)), 1e-30)
    products = np.zeros((len(x), len(x)))
    for start in range(0, x.shape[1], _COLUMNS):
        block = np.asarray(x[:, start : start + _COLUMNS], dtype=np.float32) / np.float32(peak)
        block -= block.mean(axis=0)
        products += block @ block.T
    lengths = np.diag(products)
    if lengths.max() > FAR_LONGER * np.median(lengths):
        return gram(x)
    return np.asarray(products / max(float(lengths.mean()), 1e-30))


def centred(products: FloatArray, train: IntArray, test: IntArray) -> tuple[FloatArray, FloatArray]:
    """Centre the inner products of raw rows by the training rows.

    Args:
        products: (n, n) inner products of all rows.
        train: Training rows.
        test: Test rows.

    Returns:
        (train, train) and (test, train) inner products.
    """
    of_train = products.take(train, axis=1)
    return _centred(of_train.take(train, axis=0), of_train.take(test, axis=0))


def centred_length(products: FloatArray, train: IntArray) -> float:
    """Mean squared length of training rows, centred by their mean, from products of all rows."""
    kept = np.zeros(len(products))
    kept[train] = 1
    total = float(np.diag(products) @ kept - kept @ (products @ kept) / len(train))
    return max(total, 1e-30) / len(train)


def _centred(inside: FloatArray, across: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centre inner products by the training rows, in their own memory."""
    means = inside.mean(axis=0)
    grand = float(inside.mean())
    inside -= means
    inside -= means[:, None] - grand
    of_others = across.mean(axis=1, keepdims=True) - grand
    across -= means
    across -= of_others
    return inside, across


@dataclass(frozen=True, slots=True)
class Prepared:
    """Columns of all rows, shifted and scaled so that single precision holds them well.

    Standardisation by the training rows takes any shift and any scale of a column off again, so
    that all rows may decide them.

    Attributes:
        values: (n, d) columns, from -1 to 1, with mean 0; single precision.
        mean: (d,) mean of each column before the shift, in units of its scale.
    """

    values: FloatArray
    mean: FloatArray

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take."""
        return self.values.nbytes + self.mean.nbytes

    @classmethod
    def of(cls, x: Array, frames: int) -> Prepared:
        """Shift and scale features ``x`` (n, d); 2 ``frames`` become their sum and difference."""
        values = np.array(sum_and_difference(x) if frames == 2 else x, dtype=np.float32)
        mean = values.mean(axis=0, dtype=np.float64)
        values -= mean.astype(np.float32)
        peak = np.maximum(values.max(axis=0), -values.min(axis=0))
        peak = np.maximum(peak, np.float32(1e-30))
        values /= peak
        return cls(values, mean / peak)


def standardised_parts(
    prepared: Prepared, train: IntArray, test: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Compute inner products of standardised rows.

    Args:
        prepared: Columns of all rows.
        train: Training rows, which alone decide means and deviations.
        test: Test rows.

    Returns:
        (train, train) and (test, train) inner products, centred by the training rows.
    """
    inside = np.zeros((len(train), len(train)))
    across = np.zeros((len(test), len(train)))
    for fitted, others in _standardised_blocks(prepared, train, test):
        inside += fitted @ fitted.T
        across += others @ fitted.T
    scale = _mean_length(inside)
    inside /= scale
    across /= scale
    return _centred(inside, across)


def standardised_fits(prepared: Prepared, train: IntArray, test: IntArray) -> KernelFits:
    """Make the fits on standardised rows; inner products with test rows are not computed.

    Args:
        prepared: Columns of all rows.
        train: Training rows, which alone decide means and deviations.
        test: Test rows.

    Returns:
        The fits.
    """
    inside: FloatArray = np.zeros((len(train), len(train)))
    products = np.empty((len(train), len(train)), dtype=np.float32)
    for fitted, _ in _standardised_blocks(prepared, train, test[:0]):
        inside += np.matmul(fitted, fitted.T, out=products)
    scale = _mean_length(inside)
    inside /= scale
    inside, _ = _centred(inside, np.zeros((0, len(train))))
    return KernelFits(inside, StandardisedTest(prepared, train, test, scale))


@dataclass(frozen=True, slots=True)
class StandardisedTest:
    """Inner products of standardised test rows with training rows, as they are needed.

    A few predictions take two products of the columns with a vector each. All inner products take
    as long as those of the training rows.

    Attributes:
        prepared: Columns of all rows.
        train: Training rows.
        test: Test rows.
        scale: Mean squared length of the training rows.
    """

    prepared: Prepared
    train: IntArray
    test: IntArray
    scale: float

    @property
    def nbytes(self) -> int:
        """Memory beside that of the columns."""
        return 0

    def __matmul__(self, dual: FloatArray) -> FloatArray:
        """Combine the centred inner products by dual coefficients (train, c), whose sums are 0."""
        of_test = np.zeros((len(self.test), dual.shape[1]))
        of_train = np.zeros((len(self.train), dual.shape[1]))
        single = dual.astype(np.float32)
        for fitted, others in _standardised_blocks(self.prepared, self.train, self.test):
            weights = fitted.T @ single
            of_train += fitted @ weights
            of_test += others @ weights
        return np.asarray((of_test - of_train.mean(axis=0)) / self.scale)


def _mean_length(inside: FloatArray) -> float:
    """Mean squared length of rows, from their inner products."""
    return max(float(np.trace(inside)) / len(inside), 1e-30)


def _standardised_blocks(
    prepared: Prepared, train: IntArray, test: IntArray
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Standardised columns of the training rows and of the test rows, some columns at a time."""
    for start in range(0, prepared.values.shape[1], _COLUMNS):
        block = slice(start, start + _COLUMNS)
        fitted = prepared.values[train, block]
        others = prepared.values[test, block]
        mean = fitted.mean(axis=0)
        fitted -= mean
        others -= mean
        variance = np.einsum("ij,ij->j", fitted, fitted) / len(train)
        factors = inverse_deviations(variance, prepared.mean[block] + mean).astype(np.float32)
        for values in (fitted, others):
            values *= factors
            np.clip(values, -LARGEST, LARGEST, out=values)
        yield fitted, others
