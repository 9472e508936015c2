"""Ridge fits of one candidate in which rows have weights.

Where one database is tested and the others are trained on, the candidates of the stacked probe give
every class, and every database in its class, the same weight (``balanced.py``). The weights follow
from the labels, so that tasks share nothing of these fits but what they are made of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from etab.heads.pooled.kernel_fits import KernelFits, StandardisedTest, solve_shifted
from etab.heads.pooled.moment_fits import MomentFits
from etab.types import FloatArray, IntArray


@dataclass(frozen=True, slots=True)
class WeightedFits:
    """Fits of one candidate from moments, for features narrower than rows are many.

    Attributes:
        fitted: (n, d) columns of the training rows.
        others: (m, d) columns of the test rows.
        weights: (n,) how much each training row counts, 1 on average.
    """

    fitted: FloatArray
    others: FloatArray
    weights: FloatArray

    def search(self, y: FloatArray, parts: Sequence[IntArray]) -> Callable[[float], FloatArray]:
        """Prepare predictions of every part by the ridge regression that is fitted without it.

        Args:
            y: (n, c) answers of the training rows.
            parts: Indexes into the training rows, one array a part.

        Returns:
            A function from a penalty, relative to the mean squared length of a row, to (n, c)
            predictions; 0 for rows in no part.
        """
        whole = _Moments.of(self.fitted, y, self.weights)
        length = whole.length
        systems = []
        for part in parts:
            of_part = _Moments.of(self.fitted[part], y[part], self.weights[part])
            system = whole.without(of_part).centred()
            systems.append((part, self.fitted[part] - system.mean, system))

        def predict(penalty: float) -> FloatArray:
            out = np.zeros(y.shape)
            for part, x, system in systems:
                out[part] = x @ system.solve(penalty * length) + system.answer
            return out

        return predict

    def predict(self, y: FloatArray, penalty: float) -> FloatArray:
        """Fit on all training rows and predict the test rows.

        Args:
            y: (n, c) answers of the training rows.
            penalty: Penalty relative to the mean squared length of a row.

        Returns:
            (m, c) predictions.
        """
        whole = _Moments.of(self.fitted, y, self.weights)
        system = whole.centred()
        coefficients = system.solve(penalty * whole.length)
        return np.asarray((self.others - system.mean) @ coefficients + system.answer)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Weighted sums over some rows.

    Attributes:
        weight: Sum of the weights.
        first: (d,) sums of the columns.
        second: (d, d) sums of their products.
        answers: (c,) sums of the answers.
        products: (d, c) sums of columns times answers.
    """

    weight: float
    first: FloatArray
    second: FloatArray
    answers: FloatArray
    products: FloatArray

    @classmethod
    def of(
        cls,
        x: FloatArray,
        y: FloatArray,
        weights: FloatArray,
    ) -> _Moments:
        weighted = x * weights[:, None]
        return cls(
            float(weights.sum()),
            weighted.sum(axis=0),
            weighted.T @ x,
            weights @ y,
            weighted.T @ y,
        )

    def without(self, part: _Moments) -> _Moments:
        """The sums over the rows that are not in a part."""
        return _Moments(
            self.weight - part.weight,
            self.first - part.first,
            self.second - part.second,
            self.answers - part.answers,
            self.products - part.products,
        )

    @property
    def length(self) -> float:
        """Mean squared length of a row, from the weighted mean."""
        total = float(np.trace(self.second)) - float(self.first @ self.first) / self.weight
        return max(total, 1e-30) / self.weight

    def centred(self) -> _System:
        """The system of the ridge regression on these rows, for any penalty."""
        mean = self.first / self.weight
        answer = self.answers / self.weight
        second = self.second - self.weight * np.outer(mean, mean)
        products = self.products - self.weight * np.outer(mean, answer)
        return _System(mean, answer, second, products)


@dataclass(frozen=True, slots=True)
class _System:
    """A ridge regression without its penalty.

    Attributes:
        mean: (d,) weighted mean of the columns.
        answer: (c,) weighted mean of the answers.
        second: (d, d) weighted sums of products of the centred columns.
        products: (d, c) weighted sums of centred columns times centred answers.
    """

    mean: FloatArray
    answer: FloatArray
    second: FloatArray
    products: FloatArray

    def solve(self, shift: float) -> FloatArray:
        """Coefficients (d, c) with this penalty."""
        if not len(self.mean):
            return np.zeros(self.products.shape)
        system = self.second.copy()
        system.flat[:: len(system) + 1] += shift
        _, coefficients, failed = scipy.linalg.lapack.dposv(
            system.T, self.products, lower=1, overwrite_a=1
        )
        if failed:
            # Rounding took the smallest eigenvalue below minus the penalty.
            exact = self.second + shift * np.eye(len(self.mean))
            return np.asarray(scipy.linalg.lstsq(exact, self.products)[0])
        return np.asarray(coefficients)


@dataclass(frozen=True, slots=True)
class WeightedKernelFits:
    """Fits of one candidate from inner products, for features wider than rows are many.

    Attributes:
        train: (n, n) inner products of the training rows, from any origin.
        test: (m, n) inner products of the test rows with the training rows, from the same origin.
        weights: (n,) how much each training row counts, 1 on average.
    """

    train: FloatArray
    test: FloatArray | StandardisedTest
    weights: FloatArray

    def search(self, y: FloatArray, parts: Sequence[IntArray]) -> Callable[[float], FloatArray]:
        """Prepare predictions of every part by the ridge regression that is fitted without it.

        A row with the weight w is a row sqrt(w) times as long, with its answer and its intercept
        sqrt(w) times as large. Single precision is enough to choose by.

        Args:
            y: (n, c) answers of the training rows.
            parts: Indexes into the training rows, one array a part.

        Returns:
            A function from a penalty, relative to the mean squared length of a row, to (n, c)
            predictions; 0 for rows in no part.
        """
        roots = np.sqrt(self.weights)
        mean = self.weights @ y / self.weights.sum()
        longer = (self.train * roots).astype(np.float32)
        systems = []
        for part in parts:
            rest = np.setdiff1d(np.arange(len(y)), part)
            inside = roots[rest].astype(np.float32)[:, None] * longer[np.ix_(rest, rest)]
            right = np.column_stack([roots[rest, None] * (y[rest] - mean), roots[rest]])
            across = longer[np.ix_(part, rest)]
            systems.append((part, inside, across, right.astype(np.float32)))
        length = self._length()

        def predict(penalty: float) -> FloatArray:
            out = np.zeros(y.shape)
            for part, inside, across, right in systems:
                solved = solve_shifted(inside, penalty * length, right)
                dual, intercept = _with_intercept(solved, right[:, -1])
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
        roots = np.sqrt(self.weights)
        mean = self.weights @ y / self.weights.sum()
        system = roots[:, None] * self.train * roots
        system += penalty * self._length() * np.eye(len(y))
        right = np.column_stack([roots[:, None] * (y - mean), roots])
        solved = scipy.linalg.cho_solve(scipy.linalg.cho_factor(system, overwrite_a=True), right)
        dual, intercept = _with_intercept(solved, roots)
        return np.asarray(self.test @ (roots[:, None] * dual) + intercept + mean)

    def _length(self) -> float:
        """Mean squared length of a row, from the weighted mean, in the units of the products."""
        share = self.weights / self.weights.sum()
        length = float(share @ np.diag(self.train)) - float(share @ self.train @ share)
        return max(length, 1e-30)


def _with_intercept(solved: FloatArray, roots: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Dual coefficients (n, c) and intercepts (c,) from the solutions for answers and intercept.

    The intercept makes the weighted coefficients of every answer add up to 0.
    """
    intercept = roots @ solved[:, :-1] / (roots @ solved[:, -1])
    return solved[:, :-1] - np.outer(solved[:, -1], intercept), intercept


def weighted_fits(
    fits: KernelFits | MomentFits, weights: FloatArray
) -> WeightedFits | WeightedKernelFits:
    """Turn the fits of a candidate into fits whose training rows have weights.

    Args:
        fits: The fits without weights.
        weights: (n,) how much each training row counts, 1 on average.

    Returns:
        Fits on the same columns, or inner products.
    """
    if isinstance(fits, KernelFits):
        return WeightedKernelFits(fits.train, fits.test, weights)
    fitted = np.concatenate([block for _, block in fits.columns.blocks(fits.train)])
    others = np.concatenate([block for _, block in fits.columns.blocks(fits.test)])
    return WeightedFits(fitted, others, weights)
