"""Logistic regressions that the steps of ``logistic_path`` solve: Newton's method gives the same.

The search of ``logistic`` ends after a number of steps, which solve a fit unless its losses hardly
curve. Where they curve, Newton's method on inner products comes to the same losses in a small part
of the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etab.heads.pooled.kernel_search import KernelSearch, Searched
from etab.heads.pooled.kernels import Kernels
from etab.types import FloatArray, RowSplit

_LEAST_CURVATURE = 0.2
"""Mean curvature of the losses of training rows, relative to the largest possible one, above which
steps and Newton's method come to the same log-loss within about 1e-4 of it."""

_CLOSE = 5e-4
"""Relative difference of two log-losses below which the steps themselves have to decide."""


@dataclass(frozen=True, slots=True)
class SolvedKey:
    """The fits of one key, from the strongest penalty to one beyond the best of every split.

    Attributes:
        search: The search of the key.
        searched: The search of each split.
    """

    search: KernelSearch
    searched: list[Searched]

    @property
    def losses(self) -> list[FloatArray]:
        """For each split, the mean log-loss (penalties,); infinite for a penalty not tried."""
        return [of_split.losses for of_split in self.searched]

    def predict(self, numbers: Sequence[int]) -> dict[int, FloatArray]:
        """Fit splits at their best penalties: logits (m, c) of the test rows of each."""
        logits = self.search.predict([(number, self.searched[number]) for number in numbers])
        return dict(zip(numbers, logits, strict=True))


def solved_key(
    kernels: Kernels, key: str, y: FloatArray, splits: Sequence[RowSplit], same: float
) -> SolvedKey | None:
    """Search the penalties of one key by Newton's method.

    Args:
        kernels: The features.
        key: Key of pooled features.
        y: (n, c) classes; c = 1 is the second of two classes.
        splits: The splits.
        same: Mean squared length of training rows below which they are the same.

    Returns:
        The search; None where a fit curves too little, or where its axes cost little.
    """
    if not all(kernels.is_dual(key, split.train) for split in splits):
        return None
    inner = kernels.inner_products(key)
    search = KernelSearch(inner, y, splits, kernels.products(key, inner))
    if search.scale.min() <= same:
        return None
    searched = search.search(_LEAST_CURVATURE)
    return SolvedKey(search, searched) if searched else None


def close_calls(losses: Mapping[str, Sequence[FloatArray]]) -> set[str]:
    """Keys whose losses are too near to each other, or to those of another key, in some split.

    Args:
        losses: For each key and split, the log-loss (penalties,).

    Returns:
        The keys.
    """
    names = list(losses)
    close: set[str] = set()
    for of_split in zip(*losses.values(), strict=True):
        of_keys = np.array(of_split)
        near = of_keys <= of_keys.min() * (1 + _CLOSE)
        if near.sum() > 1:
            close |= {names[number] for number in np.flatnonzero(near.any(axis=1))}
    return close
