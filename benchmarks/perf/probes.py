"""The sweep of ridge regression on many rows, beside scikit-learn.

``python -m benchmarks.perf.probes [--rows 7000] [--columns 2048] [--fits 2]`` chooses among ten
penalties in five folds, each with the other folds as inner parts, and fits the best penalty again.
The peers are a loop over ``Ridge`` with the same penalties, folds and inner parts, and ``RidgeCV``,
which chooses by leave-one-out in each fold. All fits of ours are timed, and ``--fits`` fits of the
peers, whose time is multiplied by the number of fits. Processor seconds of one thread. Predictions of
the two are compared first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from etab import heads
from etab.heads.pooled.linalg import PENALTIES
from etab.splits import row_splits, without
from etab.storage.machine import one_thread
from etab.types import Array, Features, FloatArray, IntArray, Kind, RowSplit, Target


def made(rows: int, columns: int) -> tuple[Array, FloatArray]:
    """Made features, whose columns are correlated as those of a network, and values."""
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((rows, 64)) @ rng.standard_normal((64, columns))
    x = (factors / 8 + rng.standard_normal((rows, columns))).astype(np.float32)
    y = 55 + 8 * (x[:, :20].sum(axis=1) / 6 + rng.standard_normal(rows))
    return x, y


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Processor seconds of some work, and what it returns."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def alphas(x: Array, rows: IntArray) -> FloatArray:
    """The penalties of scikit-learn that are ours: relative to the mean squared length of a row."""
    centred = x[rows] - x[rows].mean(axis=0)
    return np.asarray(PENALTIES) * float(np.square(centred, dtype=np.float64).sum()) / len(rows)


def compare(x: Array, y: FloatArray, splits: list[RowSplit], fits: int) -> list[str]:
    """Time both ways and lay the times out as lines of a Markdown table."""
    from sklearn.linear_model import Ridge, RidgeCV

    target = Target("EF", Kind.VALUE)
    patients = np.arange(len(y)).astype(str)
    head = heads.head("ridge")
    rng = np.random.default_rng(0)
    ours, found = timed(
        lambda: head.cross_fit(Features({"x/mean": x}), y, patients, splits, target, rng=rng)
    )
    wide = x.astype(np.float64)
    split = splits[0]
    chosen = PENALTIES.index(found[0].choice["penalty"])
    same = Ridge(alpha=alphas(x, split.train)[chosen]).fit(wide[split.train], y[split.train])
    apart = float(np.abs(same.predict(wide[split.test]) - found[0].predictions).max())
    inner = without(split.train, split.inner[0])
    penalties = alphas(x, inner)[:fits]
    loop, _ = timed(lambda: [Ridge(alpha=a).fit(wide[inner], y[inner]) for a in penalties])
    count = sum(len(split.inner) for split in splits) * len(PENALTIES) + len(splits)
    loop = loop / len(penalties) * count
    one, _ = timed(
        lambda: RidgeCV(alphas=alphas(x, split.train)).fit(wide[split.train], y[split.train])
    )
    by_leaving_out = one * len(splits)
    return [
        "| way | processor seconds | times ours |",
        "|---|---|---|",
        f"| ours, {count} fits | {ours:.2f} | 1 |",
        f"| Ridge in a loop | {loop:.1f} | {loop / ours:.1f} |",
        f"| RidgeCV, {len(splits)} fits | {by_leaving_out:.1f} | {by_leaving_out / ours:.1f} |",
        "",
        f"Largest difference of predictions of the first fold: {apart:.1e}.",
    ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=7000)
    parser.add_argument("--columns", type=int, default=2048)
    parser.add_argument("--fits", type=int, default=2, help="fits of the loop that are timed")
    args = parser.parse_args()
    x, y = made(args.rows, args.columns)
    patients = np.arange(args.rows).astype(str)
    parts = np.full(args.rows, "train")
    splits = row_splits(patients, parts, protocol="cv", n_fold=5)
    with one_thread(torch_too=True):
        print("\n".join(compare(x, y, splits, args.fits)))


if __name__ == "__main__":
    main()
