"""Nearest rows by cosine from inner products equal those of the features, whatever these are."""

from __future__ import annotations

import numpy as np
import pytest

from etab.heads.pooled.linalg import gram
from etab.heads.pooled.neighbours import cosines, most_similar
from etab.types import FloatArray

ROWS = 60
RNG = np.random.default_rng(5)
PLAIN = RNG.normal(size=(ROWS, 40)) + 3
FEATURES = {
    "plain": PLAIN,
    "rank-deficient": PLAIN[:, :5] @ RNG.normal(size=(5, 80)),
    "constant columns": np.column_stack([PLAIN, np.full((ROWS, 3), 7.0)]),
    "badly scaled": PLAIN * np.logspace(-4, 2, 40),
    "collinear": np.column_stack([PLAIN, PLAIN, PLAIN[:, :1] * 2]),
}


def by_features(x: FloatArray, train: FloatArray) -> FloatArray:
    """Cosines of rows with training rows, computed from centred features."""
    mean = train.mean(axis=0)
    known = train - mean
    return np.asarray((x - mean) @ known.T / np.linalg.norm(known, axis=1))


@pytest.mark.parametrize("name", sorted(FEATURES))
def test_cosines_are_those_of_the_features(name: str) -> None:
    x = FEATURES[name]
    train = np.arange(10, ROWS)
    rows = np.arange(20)
    kernel = gram(x)
    size = np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean())
    expected = by_features(x[rows], x[train]) / size
    assert cosines(kernel, train, rows) == pytest.approx(expected, abs=1e-11)


def test_training_rows_at_their_mean_are_like_no_row() -> None:
    same = np.full((ROWS, 8), 0.1)
    similarity = cosines(gram(same), np.arange(40), np.arange(40, ROWS))
    assert not similarity.any()
    first = np.tile(np.arange(5), (20, 1))
    assert np.array_equal(most_similar(similarity, 5), first)


@pytest.mark.parametrize("k", [1, 3, 50, 99])
def test_the_first_of_equal_columns_come_first(k: int) -> None:
    similarity = RNG.integers(0, 4, (30, 50)) / 4
    similarity[0] = RNG.normal(size=50)
    expected = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    assert np.array_equal(most_similar(similarity, k), expected)
