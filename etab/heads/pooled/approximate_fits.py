"""Ridge regressions that are fitted without some rows, well enough to choose by.

A ridge regression is a system of the inner products of its rows. Lanczos steps build a small
tridiagonal system that stands for it at every penalty: a step takes one product with the inner
products, for all sets of rows at once, and some dozens of steps suffice. A Cholesky factor for each
set of rows and each penalty takes many times as long.

The predictions approximate those of the factors, and a bound says how closely. ``choices.py``
chooses by them where the choice is clear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy

from etab.types import Array, FloatArray, IntArray

FIRST = 16
"""Steps before the first solution."""

FURTHER = 8
"""Steps that are added where the solution leaves too much."""

MOST = 48
"""Steps after which a system is left to a Cholesky factor."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Training rows with inner parts.

    Attributes:
        train: (n_train,) indexes of the rows.
        parts: Indexes into ``train``, one array a part.
    """

    train: IntArray
    parts: Sequence[IntArray]


class ApproximateFits:
    """Several ridge regressions on subsets of the same rows, for any penalty.

    The answers of a subset are centred by its own mean, and so are the inner products, so that the
    intercept needs no solution of its own.
    """

    def __init__(self, products: FloatArray, subsets: Array, answers: FloatArray) -> None:
        """Prepare the steps.

        Args:
            products: (n, n) inner products of the rows, from an origin near their mean.
            subsets: (s, n) the rows that each system is fitted on.
            answers: (s, n) the answers; those outside a subset are not used.
        """
        self._products = products.astype(np.float32)
        self._inside = subsets.astype(np.float32)
        self._counts = subsets.sum(axis=1, keepdims=True).astype(np.float32)
        within = np.where(subsets, answers, 0.0)
        self._means = within.sum(axis=1) / subsets.sum(axis=1)
        start = np.where(subsets, answers - self._means[:, None], 0.0)
        self._lengths = np.linalg.norm(start, axis=1)
        systems, n = subsets.shape
        self._diagonal = np.zeros((systems, MOST))
        self._beside = np.zeros((systems, MOST))
        self._images = np.zeros((systems, MOST, n), dtype=np.float32)
        self._taken = 0
        self._before = np.zeros((systems, n), dtype=np.float32)
        self._direction = _unit(start, self._lengths).astype(np.float32)

    def predict(
        self, system: int, shift: float, rows: IntArray, accuracy: float
    ) -> FloatArray | None:
        """Predict rows by one of the regressions.

        Args:
            system: Number of the subset.
            shift: The penalty, in the units of the inner products, above 0.
            rows: (m,) the rows to predict.
            accuracy: Part of the answers that the solution may leave.

        Returns:
            (m,) predictions; None where the steps do not suffice.
        """
        while True:
            weights = self._solve(system, shift, accuracy)
            if weights is not None:
                of_steps = self._images[system, : self._taken, rows]
                return np.asarray(self._means[system] + of_steps @ weights)
            if self._taken >= MOST:
                return None
            self._step(FURTHER if self._taken else FIRST)

    def _solve(self, system: int, shift: float, accuracy: float) -> FloatArray | None:
        """Weights (steps,) of the directions in a solution; None where it leaves too much."""
        m = self._taken
        if not m:
            return None
        right = np.zeros(m)
        right[0] = self._lengths[system]
        diagonal = self._diagonal[system, :m] + shift
        _, _, weights, failed = scipy.linalg.lapack.dptsv(
            diagonal, self._beside[system, : m - 1], right
        )
        left = self._beside[system, m - 1] * abs(weights[-1])
        suffices = not failed and left <= accuracy * self._lengths[system]
        return np.asarray(weights) if suffices else None

    def _step(self, steps: int) -> None:
        """Add some directions to those of every system."""
        for number in range(self._taken, self._taken + steps):
            image = self._direction @ self._products
            mean = np.einsum("sn,sn->s", image, self._inside) / self._counts[:, 0]
            image -= mean[:, None]
            self._images[:, number] = image
            image *= self._inside
            along = np.einsum("sn,sn->s", image, self._direction)
            image -= along[:, None] * self._direction
            if number:
                image -= self._beside[:, number - 1, None].astype(np.float32) * self._before
            length = np.sqrt(np.einsum("sn,sn->s", image, image))
            self._diagonal[:, number] = along
            self._beside[:, number] = length
            self._before = self._direction
            self._direction = _unit(image, length)
        self._taken += steps


def _unit(vectors: FloatArray, lengths: FloatArray) -> FloatArray:
    """Vectors (s, n) divided by their lengths (s,); those of length 0 stay 0."""
    factors = 1 / np.where(lengths > 0, lengths, 1.0)
    return np.asarray(vectors * factors[:, None].astype(vectors.dtype))


class ApproximateParts:
    """Predictions of the inner parts of some splits, each by a regression fitted without it.

    Leaving out folds j and k is one subset, whichever of them is the outer one.
    """

    def __init__(self, products: FloatArray, y: FloatArray, sets: Sequence[TrainingSet]) -> None:
        """Prepare the regressions.

        Args:
            products: (n, n) inner products of rows, from an origin near their mean.
            y: (n, c) answers; those of rows in no training set are not used.
            sets: The training rows of each split, with their inner parts.
        """
        numbers: dict[bytes, int] = {}
        subsets: list[Array] = []
        self._sets = sets
        self._systems: list[list[int]] = []
        for one in sets:
            of_set = []
            for part in one.parts:
                kept = np.zeros(len(y), dtype=bool)
                kept[one.train] = True
                kept[one.train[part]] = False
                name = kept.tobytes()
                if name not in numbers:
                    numbers[name] = len(subsets)
                    subsets.append(kept)
                of_set.append(numbers[name])
            self._systems.append(of_set)
        self._width = y.shape[1]
        self._n_subsets = len(subsets)
        every = np.tile(np.array(subsets), (self._width, 1))
        self._fits = ApproximateFits(products, every, np.repeat(y.T, len(subsets), axis=0))

    def of_set(self, number: int, length: float) -> Callable[[float, float], FloatArray | None]:
        """A function from a penalty and an accuracy to ``predict`` of a split.

        Args:
            number: Number of the split.
            length: Mean squared length of its training rows, which the penalty is relative to.
        """
        return lambda penalty, accuracy: self.predict(number, penalty * length, accuracy)

    def predict(self, number: int, shift: float, accuracy: float) -> FloatArray | None:
        """Predict every part of a split without it.

        Args:
            number: Number of the split.
            shift: The penalty, in the units of the inner products, above 0.
            accuracy: Part of the answers that a solution may leave.

        Returns:
            (n_train, c) predictions, 0 for rows in no part; None where the steps do not suffice.
        """
        one = self._sets[number]
        out = np.zeros((len(one.train), self._width))
        for part, subset in zip(one.parts, self._systems[number], strict=True):
            for column in range(self._width):
                system = column * self._n_subsets + subset
                predicted = self._fits.predict(system, shift, one.train[part], accuracy)
                if predicted is None:
                    return None
                out[part, column] = predicted
        return out
