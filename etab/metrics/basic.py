"""Every metric, one pure function each; what does not exist is raised, never returned as 0, 0.5 or NaN.

Scores mean what ``Kind`` says: a BINARY score is the probability of the second class, and so on. Mask metrics work on
the table of frames: each frame is scored once by ``mask_scores``, a patient is the mean of his frames, and the
metric is the mean over patients.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from etab.errors import UndefinedError
from etab.metrics.base import METRICS, Columns, _metric, check_columns
from etab.metrics.masks import _mask_mean
from etab.types import Array, FloatArray, Kind

_metric("dice", "Dice overlap", (Kind.MASK,), 1, 1.0, 0.0)(_mask_mean("dice"))
_metric("jaccard", "Jaccard overlap", (Kind.MASK,), 1, 1.0, 0.0)(_mask_mean("jaccard"))
_metric("hd95", "95th percentile Hausdorff distance", (Kind.MASK,), -1, 0.0, np.inf, "mm")(
    _mask_mean("hd95")
)
_metric("msd", "mean surface distance", (Kind.MASK,), -1, 0.0, np.inf, "mm")(_mask_mean("msd"))


def _error(columns: Columns) -> FloatArray:
    return np.asarray(columns["score"] - columns["truth"], dtype=np.float64)


@_metric("mae", "mean absolute error", (Kind.VALUE,), -1, 0.0, np.inf)
def mae(columns: Columns, patients: Array) -> float:
    """Mean absolute error in the target's unit."""
    return float(np.abs(_error(columns)).mean())


@_metric("rmse", "root mean squared error", (Kind.VALUE,), -1, 0.0, np.inf)
def rmse(columns: Columns, patients: Array) -> float:
    """Root mean squared error in the target's unit."""
    return float(np.sqrt(np.square(_error(columns)).mean()))


@_metric("bias", "bias (Bland-Altman)", (Kind.VALUE,), 0, 0.0, np.inf)
def bias(columns: Columns, patients: Array) -> float:
    """Mean of score minus truth (Bland and Altman 1986)."""
    return float(_error(columns).mean())


def _limits(columns: Columns, sign: float) -> float:
    error = _error(columns)
    if len(error) < 2:
        raise UndefinedError("Limits of agreement need at least two rows.")
    return float(error.mean() + sign * 1.96 * error.std(ddof=1))


@_metric("loa_low", "lower limit of agreement", (Kind.VALUE,), 0, 0.0, -np.inf)
def loa_low(columns: Columns, patients: Array) -> float:
    """Bias minus 1.96 standard deviations of the differences (Bland and Altman 1986)."""
    return _limits(columns, -1.0)


@_metric("loa_high", "upper limit of agreement", (Kind.VALUE,), 0, 0.0, np.inf)
def loa_high(columns: Columns, patients: Array) -> float:
    """Bias plus 1.96 standard deviations of the differences (Bland and Altman 1986)."""
    return _limits(columns, 1.0)


@_metric("pearson_r", "Pearson correlation", (Kind.VALUE,), 1, 1.0, -1.0)
def pearson_r(columns: Columns, patients: Array) -> float:
    """Pearson correlation; raises UndefinedError when either side is constant."""
    t, s = columns["truth"], columns["score"]
    if np.ptp(t) == 0 or np.ptp(s) == 0:
        raise UndefinedError("Correlation needs both the truth and the scores to vary.")
    return float(np.corrcoef(t, s)[0, 1])


@_metric("r2", "coefficient of determination", (Kind.VALUE,), 1, 1.0, -np.inf)
def r2(columns: Columns, patients: Array) -> float:
    """1 - residual / total sum of squares; raises UndefinedError when the truth is constant."""
    t = columns["truth"]
    total = float(np.square(t - t.mean()).sum())
    if total == 0:
        raise UndefinedError("R2 needs the truth to vary.")
    return 1.0 - float(np.square(_error(columns)).sum()) / total


def both_classes(truth: FloatArray, name: str) -> None:
    """Raise UndefinedError unless both classes are there."""
    positive = int((truth == 1).sum())
    if positive in (0, len(truth)):
        raise UndefinedError(
            f"{name} needs both classes, got {positive} positive and {len(truth) - positive} negative."
        )


def binary_auroc(truth: FloatArray, score: FloatArray) -> float:
    """Area under the ROC curve, ties counted half (Mann-Whitney)."""
    both_classes(truth, "auroc")
    _values, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = truth == 1
    n = int(positive.sum())
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(truth) - n)))


def binary_auprc(truth: FloatArray, score: FloatArray) -> float:
    """Average precision: the step sum of precision over recall, ties taken together (as scikit-learn does)."""
    both_classes(truth, "auprc")
    values, inverse = np.unique(-score, return_inverse=True)
    hits = np.cumsum(np.bincount(inverse, weights=truth == 1, minlength=len(values)))
    seen = np.cumsum(np.bincount(inverse, minlength=len(values)))
    recall = hits / hits[-1]
    return float((np.diff(recall, prepend=0.0) * hits / seen).sum())


def _one_vs_rest(columns: Columns, function: Callable[[FloatArray, FloatArray], float]) -> float:
    if "score" in columns:
        return function(columns["truth"], columns["score"])
    n = sum(k.startswith("score_") for k in columns)
    return float(
        np.mean(
            [
                function((columns["truth"] == k).astype(float), columns[f"score_{k}"])
                for k in range(n)
            ]
        )
    )


_CLASSED = (Kind.BINARY, Kind.CLASSES)


@_metric("auroc", "area under the ROC curve", _CLASSED, 1, 1.0, 0.0)
def auroc(columns: Columns, patients: Array) -> float:
    """AUROC with ties counted half; for several classes the mean of one-versus-rest. Raises with one class only."""
    return _one_vs_rest(columns, binary_auroc)


@_metric("auprc", "area under the precision-recall curve", _CLASSED, 1, 1.0, 0.0)
def auprc(columns: Columns, patients: Array) -> float:
    """Average precision; for several classes the mean of one-versus-rest."""
    return _one_vs_rest(columns, binary_auprc)


def decided(columns: Columns) -> FloatArray:
    """The class answered: probability at least 0.5 for two classes, the most probable one for several."""
    if "score" in columns:
        return (columns["score"] >= 0.5).astype(np.float64)
    n = sum(k.startswith("score_") for k in columns)
    return np.asarray(
        np.stack([columns[f"score_{k}"] for k in range(n)]).argmax(axis=0), dtype=np.float64
    )


@_metric("balanced_accuracy", "balanced accuracy", _CLASSED, 1, 1.0, 0.0)
def balanced_accuracy(columns: Columns, patients: Array) -> float:
    """Mean recall over the classes; every class must be there."""
    truth, answer = columns["truth"], decided(columns)
    n = 2 if "score" in columns else sum(k.startswith("score_") for k in columns)
    absent = [k for k in range(n) if not (truth == k).any()]
    if absent:
        raise UndefinedError(f"balanced_accuracy needs every class, got none of class {absent[0]}.")
    return float(np.mean([(answer[truth == k] == k).mean() for k in range(n)]))


def evaluate(kind: Kind, columns: Columns, patients: Array) -> dict[str, float]:
    """Every metric of a kind; one that does not exist for these rows (a fold with one class) is left out."""
    out: dict[str, float] = {}
    for metric in METRICS.values():
        if kind in metric.kinds:
            try:
                out[metric.name] = metric(columns, patients)
            except UndefinedError:
                check_columns(metric.name, columns, patients)
    return out
