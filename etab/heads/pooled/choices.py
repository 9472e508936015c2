"""The penalty of one candidate of the stacked probe, chosen on the inner parts of a split.

The published choice is made with Cholesky factors in single precision. Approximate predictions
(``approximate_fits.py``) decide where the losses differ clearly, and the factors decide elsewhere:
the choice is the same and takes less work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from etab.heads.pooled.combine import CONSTANT
from etab.heads.pooled.kernel_fits import KernelFits
from etab.heads.pooled.moment_fits import MomentFits
from etab.heads.pooled.weighted_fits import WeightedFits, WeightedKernelFits
from etab.types import FloatArray, IntArray

PENALTIES: FloatArray = np.logspace(-3, 3, 13)
"""Penalties relative to the mean squared length of a training row."""

START = 6
"""Index of the penalty at which the search starts: the mean squared length itself."""

ACCURACIES = (1e-3, 1e-4)
"""Parts of the answers that the solutions behind predictions may leave, the quickest first."""

CLEAR = 10.0
"""Losses that differ by more than this many times the accuracy are told apart."""

Fits = KernelFits | MomentFits | WeightedFits | WeightedKernelFits
Approximation = Callable[[float, float], FloatArray | None]


class Choice:
    """The penalty of one candidate in one split, and its predictions of the inner parts."""

    def __init__(
        self,
        make: Callable[[], Fits],
        y: FloatArray,
        parts: Sequence[IntArray],
        importance: FloatArray,
    ) -> None:
        """Take what a candidate is fitted on.

        Args:
            make: Makes the fits of the candidate, where they are needed.
            y: (n, c) answers of the training rows.
            parts: Indexes into the training rows, one array a part.
            importance: (n,) how much each row counts.
        """
        self._make = make
        self._y = y
        self._parts = parts
        self._inner = np.concatenate(parts)
        self._importance = importance[self._inner]
        self._fits: Fits | None = None
        self._predict: Callable[[float], FloatArray] | None = None
        self._exact: dict[int, FloatArray] = {}
        self._approximate: FloatArray | None = None
        self._approximate_losses: dict[tuple[int, float], float | None] = {}
        self._best: int | None = None

    @property
    def fits(self) -> Fits:
        """The fits of the candidate."""
        if self._fits is None:
            self._fits = self._make()
        return self._fits

    @property
    def is_made(self) -> bool:
        """Whether ``search`` has chosen a penalty."""
        return self._best is not None

    @property
    def penalty(self) -> float:
        """The chosen penalty, relative to the mean squared length of a row."""
        return float(PENALTIES[self._index])

    @property
    def left_out(self) -> FloatArray:
        """Predictions (n, c) of the inner parts at the chosen penalty, approximate or exact."""
        return self.exact() if self._approximate is None else self._approximate

    def exact(self) -> FloatArray:
        """Predictions (n, c) of the inner parts at the chosen penalty, by Cholesky factors."""
        left_out = self._exactly(self._index)
        self._predict = None
        return left_out

    def search(self, approximate: Approximation | None) -> None:
        """Take the penalty with the smallest squared error over the inner parts.

        The error is smooth along the penalties. The search starts in their middle and goes downhill.

        Args:
            approximate: Predicts the inner parts at a penalty and an accuracy, or returns None
                where it cannot; None uses exact predictions alone.
        """
        best = START
        step = 1 if self._is_better(best + 1, best, approximate) else -1
        while self._is_better(best + step, best, approximate):
            best += step
        self._best = best
        self._predict = None
        if approximate is not None and best not in self._exact:
            self._approximate = approximate(self.penalty, ACCURACIES[-1])

    def drop_fits(self) -> None:
        """Free the memory of the fits; they are made again where they are needed."""
        self._fits = None

    def tells_rows_apart(self) -> bool:
        """Whether the predictions differ within any inner part.

        Where features never change, the prediction of a part is the mean of the other rows, which
        differs from part to part and knows nothing of the rows.
        """
        spread = _spread(self.left_out, self._parts)
        if spread < CLEAR * ACCURACIES[-1]:
            spread = _spread(self.exact(), self._parts)
        return spread > CONSTANT

    @property
    def _index(self) -> int:
        if self._best is None:
            raise RuntimeError("No penalty is chosen yet: call search() first.")
        return self._best

    def _is_better(self, index: int, other: int, approximate: Approximation | None) -> bool:
        """Whether the loss at one penalty is smaller than at another."""
        if not 0 <= index < len(PENALTIES):
            return False
        decided = (
            None if approximate is None else self._is_clearly_better(index, other, approximate)
        )
        if decided is not None:
            return decided
        return self._loss(self._exactly(index)) < self._loss(self._exactly(other))

    def _is_clearly_better(self, index: int, other: int, approximate: Approximation) -> bool | None:
        """Whether approximate predictions say so; None where they do not decide."""
        for accuracy in ACCURACIES:
            first = self._approximate_loss(index, approximate, accuracy)
            second = self._approximate_loss(other, approximate, accuracy)
            if first is None or second is None:
                return None
            if abs(first - second) > CLEAR * accuracy * max(first, second):
                return first < second
        return None

    def _approximate_loss(
        self, index: int, approximate: Approximation, accuracy: float
    ) -> float | None:
        if (index, accuracy) not in self._approximate_losses:
            left_out = approximate(float(PENALTIES[index]), accuracy)
            self._approximate_losses[index, accuracy] = (
                None if left_out is None else self._loss(left_out)
            )
        return self._approximate_losses[index, accuracy]

    def _exactly(self, index: int) -> FloatArray:
        if index not in self._exact:
            if self._predict is None:
                self._predict = self.fits.search(self._y, self._parts)
            self._exact[index] = self._predict(float(PENALTIES[index]))
        return self._exact[index]

    def _loss(self, left_out: FloatArray) -> float:
        errors = np.square(left_out[self._inner] - self._y[self._inner]).sum(axis=1)
        return float(errors @ self._importance)


def _spread(left_out: FloatArray, parts: Sequence[IntArray]) -> float:
    """Largest difference of predictions (n, c) within an inner part, relative to their size."""
    spreads = [float(np.ptp(left_out[part], axis=0).max(initial=0.0)) for part in parts]
    size = max(float(np.abs(left_out[part]).max(initial=0.0)) for part in parts)
    return max(spreads) / max(size, 1e-30)
