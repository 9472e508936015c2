"""Many rows: the probes answer from moments what they answer from kernels, in memory that grows with the rows alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from etab import heads
from etab.features import entries
from etab.features.batches import Batches
from etab.heads.base import FoldFit
from etab.heads.pooled import large
from etab.heads.pooled.large import Wide, WideRidge, nearest_rows, partition, wide
from etab.heads.pooled.linalg import PENALTIES
from etab.splits import row_splits, without
from etab.types import Features, Kind, RowSplit, Target

N, D = 240, 30
VALUE = Target("EF", Kind.VALUE)
BINARY = Target("CM", Kind.BINARY, classes=("no", "yes"))
CLASSES = Target("view", Kind.CLASSES, classes=("a", "b", "c"))


def _features(pca: bool = False) -> Features:
    rng = np.random.default_rng(1)
    x = (rng.standard_normal((N, D)) * np.arange(1, D + 1) ** -0.8 + 3).astype(np.float32)
    other = (x[:, :20] ** 2 + rng.standard_normal((N, 20))).astype(np.float32)
    if pca:
        return Features({"x/pca4": x, "x/pca9": x.copy()}, pca={"x/pca4": 4, "x/pca9": 9})
    return Features({"one/mean": x, "two/mean": other})


def _answers(kind: Kind) -> Any:
    z = _features().pooled["one/mean"] @ np.random.default_rng(2).standard_normal(D)
    z = z - z.mean() + np.random.default_rng(3).standard_normal(N) * 0.4
    if kind is Kind.VALUE:
        return 50 + 10 * z
    return (z > 0).astype(int) if kind is Kind.BINARY else np.digitize(z, [-0.7, 0.7])


def _splits(protocol: str) -> list[RowSplit]:
    patients = np.array([f"p{i // 2}" for i in range(N)])
    parts = np.array(["train", "train", "train", "val", "test"])[(np.arange(N) // 2) % 5]
    return row_splits(patients, parts, protocol=protocol, n_fold=4)


def _fits(name: str, target: Target, features: Features, protocol: str) -> list[FoldFit]:
    patients = np.array([f"p{i // 2}" for i in range(N)])
    rng = np.random.default_rng(0)
    answers = _answers(target.kind)
    return heads.head(name).cross_fit(
        features, answers, patients, _splits(protocol), target, rng=rng
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LIMIT", 100)
    monkeypatch.setattr(large, "_CHUNK", 64)


@pytest.mark.parametrize("protocol", ["cv", "official"])
@pytest.mark.parametrize("pca", [False, True])
@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("ridge", VALUE),
        ("logistic", BINARY),
        ("logistic", CLASSES),
        ("knn", VALUE),
        ("knn", BINARY),
        ("knn", CLASSES),
    ],
)
def test_both_ways_answer_alike(
    name: str, target: Target, pca: bool, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = _features(pca)
    before = _fits(name, target, features, protocol)
    monkeypatch.setattr(large, "LIMIT", 100)
    monkeypatch.setattr(large, "_CHUNK", 64)
    after = _fits(name, target, features, protocol)
    for one, other in zip(before, after, strict=True):
        for key, value in one.choice.items():
            assert other.choice[key] == (
                pytest.approx(value, rel=1e-3) if isinstance(value, float) else value
            )
        scale = max(1.0, float(np.abs(one.predictions).max()))
        assert np.abs(one.predictions - other.predictions).max() < 1e-3 * scale


def test_the_limit_is_on_rows_and_only_where_features_are_narrower() -> None:
    assert not wide(np.empty((large.LIMIT, 5)))
    assert wide(np.empty((large.LIMIT + 1, 5)))
    assert not wide(np.empty((large.LIMIT + 1, large.LIMIT + 1)))


def test_no_kernel_is_made_of_many_rows(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from etab.heads.pooled import kernels

    def refuse(x: Any) -> Any:
        raise AssertionError(f"a kernel of {len(x)} rows")

    monkeypatch.setattr(kernels, "gram", refuse)
    for name, target in (("ridge", VALUE), ("logistic", BINARY), ("knn", CLASSES)):
        _fits(name, target, _features(), "cv")


def test_parts_make_up_every_set() -> None:
    for protocol in ("cv", "official"):
        splits = _splits(protocol)
        parts = partition(splits, N)
        for split in splits:
            for rows in (
                split.train,
                split.test,
                *split.inner,
                *(np.setdiff1d(split.train, p) for p in split.inner),
            ):
                mine = np.unique(parts[rows])
                assert np.isin(parts, mine).sum() == len(rows)


def test_moments_of_parts_add_up_and_others_are_read(small: None) -> None:
    x = _features().pooled["one/mean"]
    home = Wide(x, partition(_splits("cv"), N))
    z = (x.astype(float) - x.astype(float).mean(axis=0)) / home.scale
    for rows in (_splits("cv")[1].train, np.arange(3, 150)):
        found = home.total(rows)
        assert found.n == len(rows)
        assert np.allclose(found.first, z[rows].sum(axis=0))
        assert np.allclose(found.second, z[rows].T @ z[rows])
        assert home.mean_square(rows) == pytest.approx(
            ((z[rows] - z[rows].mean(axis=0)) ** 2).sum() / len(rows)
        )
    assert (z**2).sum() / N == pytest.approx(1)


def test_neighbours_by_hand(small: None) -> None:
    x = _features().pooled["one/mean"]
    train, rows = np.arange(0, 200), np.arange(200, N)
    found = nearest_rows(Wide(x, np.zeros(N, int)), train, rows, None, 7)
    centred = x.astype(float) - x[train].astype(float).mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    for row, near in zip(rows, found, strict=True):
        assert near.tolist() == np.argsort(-(unit[train] @ unit[row]), kind="stable")[:7].tolist()


SCRIPT = """
import resource, sys
import numpy as np
from etab import heads
from etab.splits import row_splits
from etab.types import Features, Kind, Target
n, d = 8000, 48
rng = np.random.default_rng(0)
x = {f"l{k}/mean": rng.standard_normal((n, d)).astype(np.float32) for k in range(2)}
patients = np.array([f"p{i}" for i in range(n)])
splits = row_splits(patients, np.full(n, "train"), protocol="cv", n_fold=3)
y = x["l0/mean"][:, 0] + 0.1 * rng.standard_normal(n)
head, target = heads.head(sys.argv[1]), Target("x", Kind.VALUE) if sys.argv[1] != "logistic" else Target("x", Kind.BINARY)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
head.cross_fit(Features(x), y if sys.argv[1] != "logistic" else (y > 0).astype(int), patients, splits,
               Target("x", Kind.BINARY, classes=("a", "b")) if sys.argv[1] == "logistic" else target, rng=rng)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ridge", "logistic", "knn"])
def test_memory_is_not_that_of_a_kernel(name: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", SCRIPT, name],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert int(said.stdout) < 350, "MiB; one kernel of 8,000 rows is 490"


def test_stored_features_of_many_rows_stay_on_disk(tmp_path: Path) -> None:

    rng = np.random.default_rng(0)
    temp = tmp_path / "temp"
    temp.mkdir()
    pooled = {
        "b/mean": rng.standard_normal((50, 8)).astype(np.float32),
        "a/max": np.ones((50, 3), np.float32),
    }
    batches = Batches(50, temp)
    batches.pooled = pooled
    batches.write(temp)
    mapped = entries._pooled(temp / "pooled.safetensors", above=0)
    assert all(isinstance(v.base, np.memmap) for v in mapped.values())
    for name, values in pooled.items():
        assert np.array_equal(mapped[name], values)


def _awkward(kind: str) -> Any:
    """Features (N, D) of each awkward kind."""
    rng = np.random.default_rng(5)
    x = rng.standard_normal((N, D)) * np.arange(1, D + 1) ** -0.8 + 3
    if kind == "rank-deficient":
        x = rng.standard_normal((N, 4)) @ rng.standard_normal((4, D))
    if kind == "constant columns":
        x[:, [0, 5]] = [1000.1, 0.0]
    if kind == "collinear":
        x[:, 1] = 2 * x[:, 0]
    if kind == "badly scaled":
        x *= np.logspace(-6, 6, D)
    if kind == "far from 0":
        x += 1e4
    return x.astype(np.float32)


@pytest.mark.parametrize(
    "kind",
    ["plain", "rank-deficient", "constant columns", "collinear", "badly scaled", "far from 0"],
)
def test_ridge_of_many_rows_is_scikit_learns(kind: str) -> None:
    """Final fits to 1e-6 of the deviation of the values, inner errors to 1e-3."""
    linear = pytest.importorskip("sklearn.linear_model")
    x = _awkward(kind)
    y = 50 + 10 * np.random.default_rng(6).standard_normal(N) + x[:, 7]
    split = _splits("cv")[0]
    search = WideRidge(Wide(x, partition([split], N)), y, PENALTIES)

    def theirs(train: Any, test: Any, penalty: float) -> Any:
        z = x.astype(np.float64) - x[train].mean(axis=0, dtype=np.float64)
        alpha = penalty * np.square(z[train]).sum() / len(train)
        return linear.Ridge(alpha=alpha, solver="svd").fit(z[train], y[train]).predict(z[test])

    for k, penalty in enumerate(PENALTIES):
        ours = search.predict(split.train, split.test, k)
        there = theirs(split.train, split.test, penalty)
        assert np.abs(ours - there).max() < 1e-6 * y.std()
    errors = search.inner_errors(split)
    for k, penalty in enumerate(PENALTIES):
        parts = [
            np.abs(theirs(without(split.train, part), part, penalty) - y[part])
            for part in split.inner
        ]
        assert errors[k] == pytest.approx(np.concatenate(parts).mean(), rel=1e-3)


def test_leaving_out_two_folds_is_one_fit() -> None:
    """Whichever of the two is the outer one."""
    splits = _splits("cv")
    home = Wide(_features().pooled["one/mean"], partition(splits, N))
    search = WideRidge(home, _answers(Kind.VALUE), PENALTIES)
    for split in splits:
        search.inner_errors(split)
    assert len(search._paths) == 6


def test_inner_parts_that_cross_each_other_keep_no_moments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Five folds with five inner parts of their own cut the rows into hundreds of parts."""
    x = _features().pooled["one/mean"]
    rng = np.random.default_rng(7)
    splits = []
    for fold in range(5):
        train = np.flatnonzero(np.arange(N) % 5 != fold)
        inner = tuple(np.sort(part) for part in np.array_split(rng.permutation(train), 5))
        splits.append(RowSplit(train, inner, np.flatnonzero(np.arange(N) % 5 == fold), "fold"))
    home = Wide(x, partition(splits, N))
    assert int(home.parts.max()) + 1 > 100
    found = home.total(splits[0].train)
    assert home._parts is None
    monkeypatch.setattr(large, "_MOST_PARTS", 10**6)
    other = Wide(x, partition(splits, N)).total(splits[0].train)
    assert np.allclose(found.second, other.second)
    assert np.allclose(found.first, other.first)
