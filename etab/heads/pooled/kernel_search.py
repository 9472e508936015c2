"""The penalty of logistic regressions on inner products, chosen on the inner parts of each split.

All training sets are fitted together, from the strongest penalty to weaker ones. Each fit starts on
the line through the two solutions before it. Penalties weaker than those at which every split does
clearly worse than at its best are left out: the weaker the penalty, the more a fit costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from etab.heads.pooled.class_scores import log_loss
from etab.heads.pooled.inner_products import InnerProducts, Products
from etab.heads.pooled.kernel_logistic import (
    FINAL,
    SEARCH,
    Fits,
    Solution,
    extrapolated,
    solve,
)
from etab.heads.pooled.linalg import PENALTIES, probabilities
from etab.splits import without
from etab.types import FloatArray, IntArray, RowSplit

_WORSE = 1.02
"""Times the log-loss at its best penalty, from which a split wants no weaker penalty."""


@dataclass(frozen=True, slots=True)
class Searched:
    """The search of a split.

    Attributes:
        losses: (penalties,) mean log-loss over the inner parts, infinite for a penalty that was
            not tried.
        dual: (n, c) mean of the solutions at the best penalty, where the final fit starts.
        intercepts: (c,) mean of their intercepts.
    """

    losses: FloatArray
    dual: FloatArray
    intercepts: FloatArray

    @property
    def best(self) -> int:
        """Index of the best penalty."""
        return int(self.losses.argmin())


class KernelSearch:
    """Logistic regressions on the features of one key, for all splits together.

    Args:
        inner: Inner products of all rows, in float64.
        y: (all, c) classes of all rows; c = 1 is the second of two classes.
        splits: The splits.
        products: The same in float32 with their axes, where they were computed before.

    Attributes:
        scale: (sets,) mean squared length of each set of rows that the search trains on.
        scale_of_trains: (splits,) the same of the training rows of each split.
    """

    def __init__(
        self,
        inner: InnerProducts,
        y: FloatArray,
        splits: Sequence[RowSplit],
        products: Products,
    ) -> None:
        self.splits = splits
        self.inner = inner
        self.of_all = inner
        self.rows: IntArray = np.arange(len(y))
        trained = np.unique(np.concatenate([split.train for split in splits]))
        # With few labels, few of many rows are trained on.
        self.is_part = 2 * len(trained) < len(y)
        if self.is_part:
            self.rows = trained
            self.inner = inner.of(trained)
            products = Products.of(self.inner.single())
        self.products = products
        self.y = y[self.rows]
        self.inner_sets = self._inner_sets()
        trains = [self.places(split.train) for split in splits]
        squares = self.inner.mean_squares([*self.inner_sets.values(), *trains])
        self.scale = squares[: len(self.inner_sets)]
        self.scale_of_trains = squares[len(self.inner_sets) :]

    def _inner_sets(self) -> dict[bytes, IntArray]:
        """The training rows without each inner part, by their bytes.

        Leaving out parts j and k is one fit, whichever of them is the outer one.
        """
        sets: dict[bytes, IntArray] = {}
        for split in self.splits:
            for part in split.inner:
                rows = self.places(without(split.train, part))
                sets[rows.tobytes()] = rows
        return sets

    def places(self, rows: IntArray) -> IntArray:
        """Indexes of training rows among the rows that are fitted."""
        return np.searchsorted(self.rows, rows) if self.is_part else rows

    def search(self, least_curvature: float = 0.0) -> list[Searched]:
        """Fit every inner part of every split, and keep the best penalty of each split.

        Args:
            least_curvature: Mean curvature of the losses, relative to the largest possible one,
                that every fit must have.

        Returns:
            The search of each split; empty where a fit curves less.
        """
        numbers = {name: number for number, name in enumerate(self.inner_sets)}
        progress = [_Progress(self, split, numbers) for split in self.splits]
        fits = Fits.of(self.products, self.y, list(self.inner_sets.values()), self.scale)
        before = solution = fits.nothing()
        for index in reversed(range(len(PENALTIES))):
            penalised = fits.at(PENALTIES[index] * self.scale)
            start = extrapolated(penalised, solution, before)
            before, solution = solution, solve(penalised, start, SEARCH)
            if fits.mean_curvature(solution).min() < least_curvature:
                return []
            logits = solution.logits
            for split_progress in progress:
                split_progress.add(index, solution, logits)
            if all(split_progress.is_past for split_progress in progress):
                break
        return [split_progress.searched for split_progress in progress]

    def predict(self, wanted: Sequence[tuple[int, Searched]]) -> list[FloatArray]:
        """Fit all training rows of some splits at their best penalties, in double precision.

        Args:
            wanted: The number of each split, and its search.

        Returns:
            For each, logits (m, c) of the test rows.
        """
        sets = [self.places(self.splits[number].train) for number, _ in wanted]
        strengths = np.array([PENALTIES[searched.best] for _, searched in wanted])
        penalties = strengths * self.scale_of_trains[[number for number, _ in wanted]]
        single = Fits.of(self.products, self.y, sets, penalties)
        dual = np.stack([searched.dual for _, searched in wanted], axis=1)
        intercepts = np.stack([searched.intercepts for _, searched in wanted])
        near = solve(single, Solution(dual, self.products(dual), intercepts), SEARCH)
        fits = Fits.of(self.products.double(self.inner), self.y, sets, penalties)
        solution = solve(fits, near.double(fits.products), FINAL, rough=self.products)
        logits: list[FloatArray] = []
        for fit, (number, _) in enumerate(wanted):
            test = self.splits[number].test
            if self.is_part:
                weighted = self.of_all.across(test, self.rows, solution.dual[:, fit])
            else:
                weighted = solution.products[test, fit]
            logits.append(weighted + solution.intercepts[fit])
        return logits


class _Progress:
    """The search of one split, from the strongest penalty to weaker ones."""

    def __init__(self, search: KernelSearch, split: RowSplit, numbers: dict[bytes, int]) -> None:
        self.parts = [search.places(part) for part in split.inner]
        self.answers = [search.y[part] for part in self.parts]
        names = [search.places(without(split.train, part)).tobytes() for part in split.inner]
        self.fits = [numbers[name] for name in names]
        self.losses = np.full(len(PENALTIES), np.inf)
        self.is_past = False
        self.searched: Searched

    def add(self, index: int, solution: Solution, logits: FloatArray) -> None:
        """Add the solutions (n, fits, c) at a penalty, and their logits."""
        losses = [
            float(log_loss(probabilities(logits[part, fit]), answers))
            for part, fit, answers in zip(self.parts, self.fits, self.answers, strict=True)
        ]
        loss = float(np.average(losses, weights=[len(part) for part in self.parts]))
        best = float(self.losses.min())
        self.losses[index] = loss
        self.is_past = loss > _WORSE * best
        # Of equal penalties, the weakest is taken, as ``argmin`` takes it.
        if loss <= best:
            dual = solution.dual[:, self.fits].mean(axis=1)
            intercepts = solution.intercepts[self.fits].mean(axis=0)
            self.searched = Searched(self.losses, dual, intercepts)
