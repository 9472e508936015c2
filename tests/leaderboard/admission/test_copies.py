"""Predictions that are copied from another backbone, and those that two honest probes share."""

from __future__ import annotations

import numpy as np

from etab.leaderboard.admission import plausibility


def _shares(*vectors: np.ndarray) -> dict[tuple[int, int], float]:
    every = np.stack(vectors)
    alone = plausibility._without_repeated(every, plausibility._Ordered.of(every))
    return plausibility._equal_shares(alone)


def test_rows_copied_one_by_one_are_found() -> None:
    rng = np.random.default_rng(1)
    first = rng.normal(size=100)
    second = rng.normal(size=100)
    second[:70] = first[:70]
    assert _shares(first, second) == {(1, 0): 0.7}


def test_the_constant_of_a_fold_is_no_copy() -> None:
    """Probes that learn nothing from some folds predict the share of the classes there."""
    rng = np.random.default_rng(2)
    first = rng.normal(size=100)
    second = rng.normal(size=100)
    for vector in (first, second):
        vector[:40] = 0.25
        vector[40:80] = 0.75
    assert _shares(first, second) == {}
