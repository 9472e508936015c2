"""The head ``logistic_exact``: logistic regressions that are solved to the last digits."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from etab.heads.base import HEADS, FoldFit, Head
from etab.heads.pooled.class_scores import from_logits, log_loss, onehot
from etab.heads.pooled.inner_products import InnerProducts, Products
from etab.heads.pooled.kernel_logistic import (
    FINAL,
    SEARCH,
    Fits,
    Precision,
    solve,
)
from etab.heads.pooled.kernel_search import KernelSearch, Searched
from etab.heads.pooled.kernels import Kernels
from etab.heads.pooled.linalg import PENALTIES, probabilities
from etab.heads.pooled.probes import refuse_kind
from etab.splits import without
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target


@HEADS.register("logistic_exact")
class ExactLogistic(Head):
    """L2 logistic regression as in ``logistic``, each penalty solved to the last digits.

    The search of ``logistic`` ends after 60 iterations, before weak penalties are solved. Where
    classes are nearly separable, such fits have a smaller log-loss than the solutions, as if they
    were stopped early, and ``logistic`` chooses weaker penalties.
    """

    name: ClassVar[str] = "logistic_exact"
    kinds: ClassVar[frozenset[Kind]] = frozenset({Kind.BINARY, Kind.CLASSES})
    uses_torch: ClassVar[bool] = False

    def cross_fit(
        self,
        features: Features,
        answers: Any,
        patients: Array,
        splits: Sequence[RowSplit],
        target: Target,
        *,
        rng: np.random.Generator,
        memo: MutableMapping[Any, Any] | None = None,
    ) -> list[FoldFit]:
        """Choose, fit and predict for each split.

        Args:
            features: Features of all rows.
            answers: (n,) class indexes.
            patients: (n,) the patient of each row.
            splits: The rows to train on, the inner parts to choose by, and the rows to predict.
            target: What is predicted.
            rng: Source of random numbers.
            memo: Results without labels that calls on the same features and splits share.

        Returns:
            A fit for each split. Predictions are probabilities (n_test,) of the second of
            two classes, or (n_test, classes).
        """
        refuse_kind(self, target)
        kernels = Kernels(features, memo, splits)
        y = onehot(answers, target)
        of_keys = {key: _search(kernels, key, y, splits) for key in features.pooled}
        keys = [
            min(of_keys, key=lambda k: float(of_keys[k].losses[number].min()))
            for number in range(len(splits))
        ]
        logits: dict[int, FloatArray] = {}
        for key in dict.fromkeys(keys):
            numbers = [number for number, best in enumerate(keys) if best == key]
            logits.update(zip(numbers, of_keys[key].predict(numbers), strict=True))
        fits: list[FoldFit] = []
        for number, key in enumerate(keys):
            losses = of_keys[key].losses[number]
            choice = {
                "features": key,
                "penalty": PENALTIES[int(losses.argmin())],
                "inner_log_loss": float(losses.min()),
            }
            fits.append(FoldFit(from_logits(logits[number], target), choice))
        return fits


class _OfKey(Protocol):
    """The search of one key for all splits."""

    @property
    def losses(self) -> list[FloatArray]:
        """For each split, the mean log-loss (penalties,) over its inner parts."""

    def predict(self, numbers: Sequence[int]) -> list[FloatArray]:
        """Fit splits at their best penalties: logits (m, c) of the test rows of each."""


def _search(kernels: Kernels, key: str, y: FloatArray, splits: Sequence[RowSplit]) -> _OfKey:
    """Search the penalties of one key."""
    if key in kernels.features.pca:
        return _OfComponents(kernels, key, y, splits)
    inner = kernels.inner_products(key)
    search = KernelSearch(inner, y, splits, kernels.products(key, inner))
    return _OfColumns(search, search.search())


class _OfColumns:
    """A key that is fitted in its own columns: the fits of all splits share inner products."""

    def __init__(self, search: KernelSearch, searched: list[Searched]) -> None:
        self.search = search
        self.searched = searched
        self.losses = [of_split.losses for of_split in searched]

    def predict(self, numbers: Sequence[int]) -> list[FloatArray]:
        """Fit splits at their best penalties: logits (m, c) of the test rows of each."""
        return self.search.predict([(number, self.searched[number]) for number in numbers])


class _OfComponents:
    """A key that is reduced to principal components: each fit has those of its training rows."""

    def __init__(
        self, kernels: Kernels, key: str, y: FloatArray, splits: Sequence[RowSplit]
    ) -> None:
        self.kernels = kernels
        self.key = key
        self.y = y
        self.splits = splits
        self.known: dict[bytes, FloatArray] = {}
        self.losses = [self._losses(split) for split in splits]

    def predict(self, numbers: Sequence[int]) -> list[FloatArray]:
        """Fit splits at their best penalties: logits (m, c) of the test rows of each."""
        logits: list[FloatArray] = []
        for number in numbers:
            split = self.splits[number]
            penalty = PENALTIES[int(self.losses[number].argmin())]
            fitted = self._fit(split.train, [penalty], np.float64, FINAL)
            logits.append(fitted[split.test, 0])
        return logits

    def _losses(self, split: RowSplit) -> FloatArray:
        """Mean log-loss (penalties,) over the inner parts of a split."""
        losses: list[FloatArray] = []
        for part in split.inner:
            rows = without(split.train, part)
            name = rows.tobytes()
            if name not in self.known:
                self.known[name] = self._fit(rows, PENALTIES, np.float32, SEARCH)
            logits = self.known[name][part].transpose(1, 0, 2)
            losses.append(log_loss(probabilities(logits), self.y[part]))
        return np.average(losses, axis=0, weights=[len(part) for part in split.inner])

    def _fit(
        self,
        train: IntArray,
        penalties: Sequence[float],
        kind: type[np.floating],
        precision: Precision,
    ) -> FloatArray:
        """Fit some rows at some penalties: logits (n, penalties, c) of all rows."""
        fit = self.kernels.basis(self.key, train)
        rows = self.kernels.project(fit, self.key, np.arange(len(self.y))).astype(kind)
        inner = InnerProducts(rows, are_rows=True)
        trained = inner.of(train)
        products = Products.of(trained)
        everyone = np.arange(len(train))
        # The penalties are relative to the rows before the reduction.
        scale = self.kernels.mean_square(self.key, train)
        fits = Fits.of(
            products,
            self.y[train],
            [everyone] * len(penalties),
            np.asarray(penalties) * scale,
        )
        solution = solve(fits, fits.nothing(), precision)
        weights = trained.matrix.T @ solution.dual.reshape(len(train), -1)
        logits = (rows @ weights).reshape(len(rows), *solution.intercepts.shape)
        return np.asarray(logits + solution.intercepts)
