"""Which recordings are pieces of one: where they overlap, and the people that follow."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pieces import largest_correlation, overlap, people_of, shift_of
from etab.datasets.integrity.stretches import marks_of

SOUND = np.random.default_rng(0).normal(size=30_000).astype(np.float32)


@pytest.mark.parametrize(("start", "stop"), [(4_000, 9_000), (19_900, 30_000), (0, 5_000)])
def test_the_shift_is_where_the_samples_are_equal(start: int, stop: int) -> None:
    first, second = SOUND[2_000:20_000], SOUND[start:stop]
    shift = shift_of(marks_of(first), marks_of(second))
    assert shift == start - 2_000
    a, b = overlap(first, second, shift)
    assert len(a) == min(stop, 20_000) - max(start, 2_000)
    assert (a == b).all()


def test_the_largest_correlation_is_that_of_the_overlap() -> None:
    first, second = SOUND[:12_000], -3 * SOUND[7_000:]
    assert largest_correlation(first, second, 4_000) > 0.99
    assert largest_correlation(first, second, 6_000) < 0.1
    assert largest_correlation(first, np.zeros(9_000), 4_000) == 0


def test_people_are_chains_of_pairs() -> None:
    pairs = [("d", "e"), ("a", "b"), ("c", "d"), ("b", "f"), ("e", "f"), ("x", "y")]
    assert people_of(pairs) == [["a", "b", "c", "d", "e", "f"], ["x", "y"]]
