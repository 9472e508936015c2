"""Ridge fits of one candidate from inner products of rows, for features wider than rows are many.

No label enters the inner products, so that all tasks on the same rows share them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import linalg
from scipy.linalg import blas, lapack

from etab.heads.pooled.candidates import LARGEST, inverse_deviations, sum_and_difference
from etab.heads.pooled.linalg import gram
from etab.types import Array, FloatArray, IntArray

COLUMNS = 2048
"""Columns that are multiplied at once. Each block is summed in single precision, and the blocks in
double precision."""

FAR_LONGER = 100.0
"""Rows this many times longer (squared) than the median row take raw features to double precision."""


@dataclass(frozen=True, slots=True)
class KernelFits:
    """Everything about one candidate and one split that no label enters.

    Attributes:
        train: (n, n) inner products of the training rows, centred by their mean.
        test: (m, n) inner products of the test rows with the training rows, centred likewise.
    """

    train: FloatArray
    test: FloatArray

    @property
    def nbytes(self) -> int:
        """Memory that the arrays take."""
        return self.train.nbytes + self.test.nbytes

    def left_out(self, y: FloatArray, parts: Sequence[IntArray], penalty: float) -> FloatArray:
        """Predict every part by the ridge regression that is fitted without it.

        The residuals of a part follow from those of the whole fit in closed form:
        ``(I - H)^-1 r``, where H is the block of the hat matrix that belongs to the part.
        Single precision is enough to choose by.

        Args:
            y: (n, c) answers of the training rows.
            parts: Indexes into the training rows, one array a part.
            penalty: Penalty relative to the mean squared length of a row.

        Returns:
            (n, c) predictions; 0 for rows in no part.
        """
        penalty = self._absolute(penalty)
        inverse = _inverse(self.train, penalty)
        centred_answers = (y - y.mean(axis=0)).astype(np.float32)
        residual = penalty * blas.ssymm(1.0, inverse, centred_answers, lower=1)
        out = np.zeros(y.shape)
        for part in parts:
            # I - H of ridge regression with an intercept, for centred inner products.
            block = penalty * inverse[np.ix_(part, part)] - np.float32(1 / len(y))
            out[part] = y[part] - _solve_lower(block, residual[part])
        return out

    def predict(self, y: FloatArray, penalty: float) -> FloatArray:
        """Fit on all training rows, in double precision, and predict the test rows.

        Args:
            y: (n, c) answers of the training rows.
            penalty: Penalty relative to the mean squared length of a row.

        Returns:
            (m, c) predictions.
        """
        mean = y.mean(axis=0)
        system = self.train + self._absolute(penalty) * np.eye(len(y))
        dual = linalg.cho_solve(linalg.cho_factor(system, overwrite_a=True), y - mean)
        return np.asarray(mean + self.test @ dual)

    def _absolute(self, penalty: float) -> float:
        """A penalty in the units of the inner products."""
        return penalty * max(float(np.trace(self.train)), 1e-30) / len(self.train)


def _inverse(products: FloatArray, shift: float) -> FloatArray:
    """The lower triangle of the inverse of products + shift I, in single precision."""
    system = products.astype(np.float32)
    system.flat[:: len(system) + 1] += np.float32(shift)
    factor, failed = lapack.spotrf(system.T, lower=1, overwrite_a=1)
    if failed:
        # Rounding to single precision took the smallest eigenvalue below minus the shift.
        exact = products + shift * np.eye(len(products))
        return np.asfortranarray(np.linalg.inv(exact).astype(np.float32))
    return np.asarray(lapack.spotri(factor, lower=1, overwrite_c=1)[0])


def _solve_lower(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """Solve a positive definite system of which the lower triangle is given."""
    _, solution, failed = lapack.sposv(matrix, right, lower=1)
    if failed:
        whole = np.tril(matrix) + np.tril(matrix, -1).T
        return np.asarray(linalg.lstsq(whole.astype(np.float64), right)[0])
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
    last = len(train) - 1
    values, axes = linalg.eigh(
        train, subset_by_index=[max(0, last + 1 - components), last], check_finite=False
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
    for start in range(0, x.shape[1], COLUMNS):
        block = np.asarray(x[:, start : start + COLUMNS], dtype=np.float32) / np.float32(peak)
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
    return _centred(products[np.ix_(train, train)], products[np.ix_(test, train)])


def _centred(inside: FloatArray, across: FloatArray) -> tuple[FloatArray, FloatArray]:
    means = inside.mean(axis=0)
    grand = float(inside.mean())
    inside = inside - means - (means[:, None] - grand)
    across = across - means - (across.mean(axis=1, keepdims=True) - grand)
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

    @classmethod
    def of(cls, x: Array, frames: int) -> Prepared:
        """Shift and scale features (n, d); two frames become their sum and their difference."""
        values = np.array(sum_and_difference(x) if frames == 2 else x, dtype=np.float32)
        mean = values.mean(axis=0, dtype=np.float64)
        values -= mean.astype(np.float32)
        peak = np.maximum(values.max(axis=0), -values.min(axis=0))
        peak = np.maximum(peak, np.float32(1e-30))
        values /= peak
        return cls(values, mean / peak)


def standardised(
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
    for start in range(0, prepared.values.shape[1], COLUMNS):
        block = slice(start, start + COLUMNS)
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
        inside += fitted @ fitted.T
        across += others @ fitted.T
    scale = max(float(np.trace(inside)) / len(train), 1e-30)
    return _centred(inside / scale, across / scale)
