"""Processor time of the sweeps of probes on made features, beside scikit-learn, in one thread."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

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
    yield _logistic(logistic, "logistic")
    yield _logistic(logistic, "logistic_exact")
    yield _neighbours(logistic)


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


def _logistic(made_sweep: Sweep, head: str) -> Row:
    from sklearn.linear_model import LogisticRegression

    ours, fits = made_sweep.fit(head)
    x = made_sweep.scaled()
    y = made_sweep.y
    split = made_sweep.splits[0]
    penalty = fits[0].choice["penalty"]
    exact = LogisticRegression(
        C=1 / (penalty * mean_square(x, split.train)), tol=1e-10, max_iter=5000
    )
    exact.fit(x[split.train], y[split.train])
    gap = float(np.abs(exact.predict_proba(x[split.test])[:, 1] - fits[0].predictions).max())
    inner = without(split.train, split.inner[0])
    strengths = 1 / (np.asarray(PENALTIES) * mean_square(x, inner))
    loop, _ = timed(
        lambda: [
            LogisticRegression(C=strength, max_iter=1000).fit(x[inner], y[inner])
            for strength in strengths
        ]
    )
    product, _ = timed(lambda: x @ x.T)
    return Row(
        task=_title(f"`{head}`", made_sweep),
        ours=ours,
        peer_name="LogisticRegression in a loop",
        peer=loop / len(PENALTIES) * made_sweep.n_fits,
        limit_name="the inner products of all rows, once",
        limit=product,
        wanted=15.0,
        agreement=f"probabilities of a fold: largest difference {gap:.0e}",
    )


def _neighbours(made_sweep: Sweep) -> Row:
    from sklearn.neighbors import KNeighborsClassifier

    ours, fits = made_sweep.fit("knn")
    x = made_sweep.x.astype(np.float64)
    y = made_sweep.y
    seconds = 0.0
    for split in made_sweep.splits:
        parts = [(without(split.train, part), part) for part in split.inner]
        for train, test in [*parts, (split.train, split.test)]:
            started = time.process_time()
            centred = x - x[train].mean(axis=0)
            peer = KNeighborsClassifier(max(KNN.neighbours), metric="cosine", algorithm="brute")
            peer.fit(centred[train], y[train])
            near = peer.kneighbors(centred[test], return_distance=False)
            seconds += time.process_time() - started
    k = fits[-1].choice["neighbours"]
    share = y[train][near[:, :k]].mean(axis=1)
    gap = float(np.abs(share - fits[-1].predictions).max())
    product, _ = timed(lambda: x @ x.T)
    return Row(
        task=f"kNN, {len(KNN.neighbours)} numbers of neighbours: {LOGISTIC_ROWS:,} x {COLUMNS:,}, "
        f"{FOLDS} folds with inner parts",
        ours=ours,
        peer_name="kneighbors of scikit-learn in a loop",
        peer=seconds,
        limit_name="the inner products of all rows, once",
        limit=product,
        wanted=None,
        agreement=f"shares of a fold: largest difference {gap:.0e}",
    )


def _title(name: str, made_sweep: Sweep) -> str:
    rows, columns = made_sweep.x.shape
    return (
        f"{name} sweep: {rows:,} x {columns:,}, {len(PENALTIES)} penalties, {FOLDS} folds with "
        "inner parts"
    )
