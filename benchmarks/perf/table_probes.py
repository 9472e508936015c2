"""Processor time of the sweeps of probes on made features, beside scikit-learn, in one thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks.perf import peers
from benchmarks.perf.probes import made, timed
from benchmarks.perf.rows import Row
from etab import heads
from etab.heads.base import FoldFit
from etab.heads.pooled.linalg import PENALTIES
from etab.heads.pooled.probes import KNN
from etab.splits import row_splits, without
from etab.storage.machine import one_thread
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target

RIDGE_ROWS = 7000
LOGISTIC_ROWS = 2000
COLUMNS = 2048
FOLDS = 5
VALUE = Target("EF", Kind.VALUE)
CLASSES = Target("CM", Kind.BINARY, classes=("no", "yes"))


@dataclass(frozen=True)
class Sweep:
    """Made features (n, d), answers (n,), and a division into five folds with inner parts."""

    x: Array
    y: Array
    target: Target
    splits: Sequence[RowSplit]

    def fit(self, head: str) -> tuple[float, list[FoldFit]]:
        """Processor seconds of the whole sweep of a head, and its fits."""
        patients = np.arange(len(self.y)).astype(str)
        rng = np.random.default_rng(0)
        features = Features({"x/mean": self.x})
        probe = heads.head(head)
        return timed(
            lambda: probe.cross_fit(features, self.y, patients, self.splits, self.target, rng=rng)
        )

    @property
    def n_fits(self) -> int:
        """Fits of a loop: each penalty for each inner part, and one for each fold."""
        return sum(len(split.inner) for split in self.splits) * len(PENALTIES) + len(self.splits)

    def scaled(self) -> FloatArray:
        """Features centred and divided by the root mean square of the length of a row."""
        centred = self.x - self.x.mean(axis=0, dtype=np.float64)
        return np.asarray(centred / np.sqrt(np.square(centred).sum() / len(centred)))


def sweep(rows: int, target: Target) -> Sweep:
    """Make the features and answers of a sweep."""
    x, values = made(rows, COLUMNS)
    y = values
    if target.kind is Kind.BINARY:
        y = (values > np.median(values)).astype(np.float64)
    patients = np.arange(rows).astype(str)
    splits = row_splits(patients, np.full(rows, "train"), protocol="cv", n_fold=FOLDS)
    return Sweep(x, y, target, splits)


def mean_square(x: FloatArray, rows: IntArray) -> float:
    """Mean squared length of the centred rows."""
    return float(np.square(x[rows] - x[rows].mean(axis=0)).sum() / len(rows))


def rows() -> Iterator[Row]:
    """Time ridge and logistic regression, and nearest neighbours.

    Processor time counts threads that wait. Both sides have one thread, as the probes of a run.
    """
    with one_thread(torch_too=True):
        yield from _rows()


def _rows() -> Iterator[Row]:
    yield from _ridge(sweep(RIDGE_ROWS, VALUE))
    logistic = sweep(LOGISTIC_ROWS, CLASSES)
    yield from _logistic(logistic, "logistic")
    yield from _logistic(logistic, "logistic_exact")
    yield from _neighbours(logistic)


def _left_out(made_sweep: Sweep, closed: float, product: float) -> Row:
    """Penalties chosen by leaving rows out, beside ``closed`` seconds of RidgeCV."""
    from sklearn.linear_model import RidgeCV

    ours, fits = made_sweep.fit("ridge_loo")
    x = made_sweep.scaled()
    split = made_sweep.splits[0]
    alphas = np.asarray(PENALTIES) * mean_square(x, split.train)
    scoring = "neg_mean_absolute_error"
    same = RidgeCV(alphas=alphas, scoring=scoring).fit(x[split.train], made_sweep.y[split.train])
    gap = float(np.abs(same.predict(x[split.test]) - fits[0].predictions).max())
    return Row(
        task=f"`ridge_loo`: {len(x):,} x {x.shape[1]:,}, {len(PENALTIES)} penalties, {FOLDS} folds",
        ours=ours,
        peer_name=f"RidgeCV, {FOLDS} fits by leave-one-out",
        peer=closed,
        limit_name="the moments of all rows, once",
        limit=product,
        agreement=f"predictions of a fold: largest difference {gap:.0e}",
    )


def _ridge(made_sweep: Sweep) -> Iterator[Row]:
    from sklearn.linear_model import Ridge, RidgeCV

    ours, fits = made_sweep.fit("ridge")
    x = made_sweep.scaled()
    y = made_sweep.y
    split = made_sweep.splits[0]
    alphas = np.asarray(PENALTIES) * mean_square(x, split.train)
    chosen = PENALTIES.index(fits[0].choice["penalty"])
    same = Ridge(alpha=alphas[chosen]).fit(x[split.train], y[split.train])
    gap = float(np.abs(same.predict(x[split.test]) - fits[0].predictions).max())
    inner = without(split.train, split.inner[0])
    loop, _ = timed(lambda: [Ridge(alpha=alpha).fit(x[inner], y[inner]) for alpha in alphas[:2]])
    closed, _ = timed(lambda: RidgeCV(alphas=alphas).fit(x[split.train], y[split.train]))
    product, _ = timed(lambda: x.T @ x)
    peers = (
        ("Ridge in a loop", loop / 2 * made_sweep.n_fits, 15.0),
        (f"RidgeCV, {FOLDS} fits by leave-one-out", closed * FOLDS, 8.0),
    )
    for name, seconds, wanted in peers:
        yield Row(
            task=_title("ridge", made_sweep),
            ours=ours,
            peer_name=name,
            peer=seconds,
            limit_name="the moments of all rows, once",
            limit=product,
            wanted=wanted,
            agreement=f"predictions of a fold: largest difference {gap:.0e}",
        )
    yield _left_out(made_sweep, closed * FOLDS, product)


Fit = Callable[[FloatArray, Array, float], object]
"""Fits rows (n, d) and classes (n,) at a strength C."""


@dataclass(frozen=True)
class Peer:
    """Logistic regressions of others.

    Attributes:
        name: What the table calls them.
        fit: Fits rows (n, d) and classes (n,) at a strength C, about as well as others use it.
        exact: The same to more digits; returns probabilities (m,) of test rows (m, d).
        wanted: The ratio that is aimed at; None for no aim.
    """

    name: str
    fit: Fit
    exact: Callable[[FloatArray, Array, float, FloatArray], FloatArray]
    wanted: float | None


def _peers() -> Iterator[Peer]:
    from sklearn.linear_model import LogisticRegression

    def exact(x: FloatArray, y: Array, strength: float, test: FloatArray) -> FloatArray:
        model = LogisticRegression(C=strength, tol=1e-10, max_iter=5000).fit(x, y)
        return np.asarray(model.predict_proba(test)[:, 1])

    yield Peer(
        "LogisticRegression in a loop",
        lambda x, y, strength: LogisticRegression(C=strength, max_iter=1000).fit(x, y),
        exact,
        15.0,
    )
    linear = peers.torchgeo_bench("linear")
    if linear is not None:
        yield _torchgeo_bench(linear)


def _torchgeo_bench(linear: ModuleType) -> Peer:
    """The logistic regression of torchgeo-bench, with the settings of its sweep.

    It has weights of each of two classes, which share the squared length of one set of weights:
    the same fit takes half the strength.
    """
    import torch

    def fit(x: FloatArray, y: Array, strength: float) -> Any:
        model = linear.LogisticRegression(C=strength / 2, max_iter=2000, tol=1e-6)
        return model.fit(torch.from_numpy(x), torch.from_numpy(y).long())

    def exact(x: FloatArray, y: Array, strength: float, test: FloatArray) -> FloatArray:
        found = fit(x, y, strength).predict_proba(torch.from_numpy(test))
        return np.asarray(found[:, 1])

    return Peer("torchgeo-bench's LogisticRegression in its loop, in float32", fit, exact, None)


def _fit_all(fit: Fit, x: FloatArray, y: Array, strengths: FloatArray) -> None:
    for strength in strengths.tolist():
        fit(x, y, strength)


def _logistic(made_sweep: Sweep, head: str) -> Iterator[Row]:
    ours, fits = made_sweep.fit(head)
    x = made_sweep.scaled()
    y = made_sweep.y
    split = made_sweep.splits[0]
    inner = without(split.train, split.inner[0])
    strengths = 1 / (np.asarray(PENALTIES) * mean_square(x, inner))
    best = 1 / (fits[0].choice["penalty"] * mean_square(x, split.train))
    product, _ = timed(lambda: x @ x.T)
    for peer in _peers():
        found = peer.exact(x[split.train], y[split.train], best, x[split.test])
        gap = float(np.abs(found - fits[0].predictions).max())
        loop, _ = timed(partial(_fit_all, peer.fit, x[inner], y[inner], strengths))
        yield Row(
            task=_title(f"`{head}`", made_sweep),
            ours=ours,
            peer_name=peer.name,
            peer=loop / len(PENALTIES) * made_sweep.n_fits,
            limit_name="the inner products of all rows, once",
            limit=product,
            wanted=peer.wanted,
            agreement=f"probabilities of a fold: largest difference {gap:.0e}",
        )


Near = Callable[[FloatArray, FloatArray, int], IntArray]
"""Numbers (m, k) of the k training rows (n, d) that are nearest to each test row (m, d)."""


def _searches() -> Iterator[tuple[str, Near]]:
    from sklearn.neighbors import KNeighborsClassifier

    def by_cosine(train: FloatArray, test: FloatArray, k: int) -> IntArray:
        peer = KNeighborsClassifier(k, metric="cosine", algorithm="brute")
        peer.fit(train, np.zeros(len(train)))
        return np.asarray(peer.kneighbors(test, return_distance=False))

    yield "kneighbors of scikit-learn in a loop", by_cosine
    knn = peers.torchgeo_bench("knn")
    if knn is not None:

        def by_faiss(train: FloatArray, test: FloatArray, k: int) -> IntArray:
            peer = knn.KNNClassifier(k).fit(_long_as_one(train), np.zeros(len(train)))
            return np.asarray(peer._search_cpu(_long_as_one(test)))

        yield "torchgeo-bench's KNNClassifier (faiss, float32) in a loop", by_faiss


def _long_as_one(x: FloatArray) -> FloatArray:
    """Rows of length 1, of which the nearest are the most similar by cosine."""
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def _neighbours(made_sweep: Sweep) -> Iterator[Row]:
    ours, fits = made_sweep.fit("knn")
    x = made_sweep.x.astype(np.float64)
    y = made_sweep.y
    product, _ = timed(lambda: x @ x.T)
    for name, search in _searches():
        seconds = 0.0
        for split in made_sweep.splits:
            parts = [(without(split.train, part), part) for part in split.inner]
            for train, test in [*parts, (split.train, split.test)]:
                started = time.process_time()
                centred = x - x[train].mean(axis=0)
                near = search(centred[train], centred[test], max(KNN.neighbours))
                seconds += time.process_time() - started
        k = fits[-1].choice["neighbours"]
        share = y[train][near[:, :k]].mean(axis=1)
        gap = float(np.abs(share - fits[-1].predictions).max())
        yield Row(
            task=f"kNN, {len(KNN.neighbours)} numbers of neighbours: {LOGISTIC_ROWS:,} x "
            f"{COLUMNS:,}, {FOLDS} folds with inner parts",
            ours=ours,
            peer_name=name,
            peer=seconds,
            limit_name="the inner products of all rows, once",
            limit=product,
            agreement=f"shares of a fold: largest difference {gap:.0e}",
        )


def _title(name: str, made_sweep: Sweep) -> str:
    rows, columns = made_sweep.x.shape
    return (
        f"{name} sweep: {rows:,} x {columns:,}, {len(PENALTIES)} penalties, {FOLDS} folds with "
        "inner parts"
    )
