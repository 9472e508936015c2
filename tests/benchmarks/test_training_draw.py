"""The variance of the training draw is found where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.training_draw import Cell, ratio, shares_of


def cells(share: float, backbones: int = 4, seeds: int = 400) -> list[Cell]:
    """Values whose training draw has a known share of the variance of one patient over n_train."""
    rng = np.random.default_rng(0)
    n_train, n_test = 200, 100
    made = []
    for seed in range(seeds):
        for b in range(backbones):
            errors = rng.normal(size=(2, n_test))
            draws = rng.normal(size=2) * np.sqrt(share / n_train)
            values = errors.mean(axis=1) + draws
            moved = (errors - errors.mean(axis=1, keepdims=True)) / np.sqrt(n_test * (n_test - 1))
            made.append(Cell(f"b{b}", "b0-A4-C", seed, n_train, values.tolist(), moved.tolist()))
    return made


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_the_share_of_the_training_draw_is_found(share: float) -> None:
    made = cells(share)
    for of_pairs in (False, True):
        found, error = ratio(made, of_pairs)
        assert found == pytest.approx(share, abs=4 * error)
        assert 0.05 < error < 0.25


def test_pairs_are_of_one_division() -> None:
    alone, pairs = shares_of(cells(0.5, backbones=3, seeds=2))
    assert len(alone) == 6
    assert len(pairs) == 6
