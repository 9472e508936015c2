"""Intervals count patients, tests keep their size, ranks admit ties."""

from __future__ import annotations

import numpy as np
import pytest

from etab.errors import UndefinedError
from etab.metrics import uncertainty as stats
from etab.metrics.base import METRICS
from etab.metrics.columns import ScoredRows
from etab.testing.metrics import sample
from etab.types import Kind

CASES = [(name, kind) for name, m in METRICS.items() for kind in sorted(m.kinds)]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_weights_equal_repeated_rows(name: str, kind: Kind) -> None:
    rng = np.random.default_rng(3)
    columns, patients = sample(kind, rng, 60)
    if kind is Kind.BINARY:
        columns["score"] = np.round(columns["score"], 1)
    order = np.unique(patients)
    weights = stats.resample_weights(len(order), 5, rng)
    fast = stats.weighted(name, ScoredRows(kind, columns, patients), order, weights)
    for row, got in zip(weights, fast, strict=True):
        index, who = [], []
        for place, times in enumerate(row):
            for copy in range(times):
                rows = np.flatnonzero(patients == order[place])
                index += rows.tolist()
                who += [f"{order[place]}-{copy}"] * len(rows)
        direct = METRICS[name]({k: v[index] for k, v in columns.items()}, np.array(who))
        assert got == pytest.approx(direct, abs=1e-9)


def test_bootstrap_counts_patients_not_rows() -> None:
    rng = np.random.default_rng(0)
    columns, patients = sample(Kind.VALUE, rng, 40)
    once = stats.bootstrap("mae", Kind.VALUE, columns, patients, rng=np.random.default_rng(1))
    many = {k: np.repeat(v, 10) for k, v in columns.items()}
    ten = stats.bootstrap(
        "mae", Kind.VALUE, many, np.repeat(patients, 10), rng=np.random.default_rng(1)
    )
    assert ten.value == pytest.approx(once.value)
    assert (ten.low, ten.high) == pytest.approx((once.low, once.high))


def test_bootstrap_is_the_generators() -> None:
    columns, patients = sample(Kind.BINARY, np.random.default_rng(0))
    a, b, c = (
        stats.bootstrap("auroc", Kind.BINARY, columns, patients, rng=np.random.default_rng(s))
        for s in (1, 1, 2)
    )
    assert a == b
    assert a != c
    assert a.low < a.value < a.high


def test_bootstrap_refuses_what_has_no_interval() -> None:
    columns = {"truth": np.r_[np.zeros(30), 1.0], "score": np.linspace(0, 1, 31)}
    with pytest.raises(UndefinedError, match="too few patients"):
        stats.bootstrap(
            "auroc", Kind.BINARY, columns, np.arange(31).astype(str), rng=np.random.default_rng(0)
        )
    with pytest.raises(UndefinedError, match=r"Only 1 test patient: .* --protocol cv5"):
        stats.bootstrap(
            "mae",
            Kind.VALUE,
            {"truth": np.ones(1), "score": np.ones(1)},
            np.array(["a"]),
            rng=np.random.default_rng(0),
        )


def test_bootstrap_covers() -> None:
    hits = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        who = np.repeat(np.arange(60), 2)
        error = rng.normal(0, 1, 60)[who] + rng.normal(0, 0.5, 120)
        found = stats.bootstrap(
            "bias",
            Kind.VALUE,
            {"truth": np.zeros(120), "score": error},
            who.astype(str),
            rng=rng,
            n=400,
        )
        hits += found.low <= 0 <= found.high
    assert 0.89 <= hits / 200 <= 0.99


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert stats.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_rank_intervals_share_ranks() -> None:
    none = np.zeros((3, 3), bool)
    assert stats.rank_intervals(none) == [(1, 3)] * 3
    first = none.copy()
    first[0, 1:] = True
    assert stats.rank_intervals(first) == [(1, 1), (2, 3), (2, 3)]
