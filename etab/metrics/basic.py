"""Metrics of values and of classes.

Conventions:

* A score of BINARY is the probability of the second class, a score of CLASSES is one probability
  per class.
* For several classes AUROC and AUPRC are means over the classes, each against the others.
* Scores of two folds come from two fits: they lie on two scales, and a fit is biased against the
  classes of its own test fold, since what is frequent there is rare in its training rows. AUROC and
  AUPRC compare scores of one fold alone. ``auroc_pooled`` and ``auprc_pooled`` compare all scores.
* An error is ``score - truth``, in the target's unit.
* What does not exist (AUROC of rows of one class) is raised as UndefinedError, never returned as 0,
  0.5 or NaN.

Each public name below is a ``Metric``: call it with columns and patients, or take its ``weighted``
form.

Example:
    >>> import numpy as np
    >>> columns = {"truth": np.array([0.0, 0.0, 1.0, 1.0]), "score": np.array([0.1, 0.6, 0.6, 0.9])}
    >>> auroc(columns, np.array(["p1", "p2", "p3", "p4"]))
    0.875
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from etab.errors import UndefinedError
from etab.metrics import masks as masks
from etab.metrics.base import METRICS, metric, ratio, weighted_mean
from etab.metrics.columns import Columns, ScoredRows, check_columns, class_scores
from etab.types import Array, FloatArray, IntArray, Kind

Share = tuple[FloatArray, FloatArray]
"""Numerator and denominator (draws,) of a share of rows or of pairs."""
ShareOfClass = Callable[[Array, FloatArray, FloatArray], Share]

_VALUES = (Kind.VALUE,)
_CLASSES = (Kind.BINARY, Kind.CLASSES)
_EVERY_CLASS = "rows of every class"

# Weighted sums of squares below these shares of what they were computed from are rounding.
_ROUNDING = 1e-12
_ROUNDING_OF_VALUES = 1e-24


def _error(rows: ScoredRows) -> FloatArray:
    return np.asarray(rows["score"] - rows["truth"], dtype=np.float64)


def _centred(values: FloatArray) -> FloatArray:
    """Values minus their mean: sums of their squares then lose no digits to a large mean."""
    return np.asarray(values - values.mean(), dtype=np.float64)


def _spread(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Weighted sum of squared deviations from the mean, (draws,); 0 where it is rounding."""
    centred = _centred(values)
    squares = weights @ np.square(centred)
    total = squares - ratio((weights @ centred) ** 2, weights.sum(axis=1))
    rounding = _ROUNDING * squares + _ROUNDING_OF_VALUES * (weights @ np.square(values))
    return np.where(total > rounding, total, 0.0)


@metric("mae", "mean absolute error", _VALUES, better=-1, best=0.0, worst=np.inf)
def mae(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Mean absolute error, in the target's unit."""
    return weighted_mean(np.abs(_error(rows)), weights)


@metric("rmse", "root mean squared error", _VALUES, better=-1, best=0.0, worst=np.inf)
def rmse(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Root mean squared error, in the target's unit."""
    return np.sqrt(weighted_mean(np.square(_error(rows)), weights))


@metric("bias", "bias (Bland-Altman)", _VALUES, better=0, best=0.0, worst=np.inf)
def bias(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Mean of score minus truth (Bland and Altman, Lancet 1986)."""
    return weighted_mean(_error(rows), weights)


def _limit(rows: ScoredRows, weights: FloatArray, sign: float) -> FloatArray:
    error = _error(rows)
    centred = _centred(error)
    n = weights.sum(axis=1)
    mean = weighted_mean(centred, weights)
    variance = ratio(weights @ np.square(centred) - n * mean**2, n - 1)
    limit = error.mean() + mean + sign * 1.96 * np.sqrt(np.maximum(variance, 0))
    return np.asarray(limit)


@metric(
    "loa_low",
    "lower limit of agreement",
    _VALUES,
    better=0,
    best=0.0,
    worst=-np.inf,
    condition="two rows or more",
)
def loa_low(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Bias minus 1.96 standard deviations of the errors (Bland and Altman, Lancet 1986)."""
    return _limit(rows, weights, -1.0)


@metric(
    "loa_high",
    "upper limit of agreement",
    _VALUES,
    better=0,
    best=0.0,
    worst=np.inf,
    condition="two rows or more",
)
def loa_high(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Bias plus 1.96 standard deviations of the errors (Bland and Altman, Lancet 1986)."""
    return _limit(rows, weights, 1.0)


@metric(
    "pearson_r",
    "Pearson correlation",
    _VALUES,
    better=1,
    best=1.0,
    worst=-1.0,
    condition="a truth and scores that both vary",
)
def pearson_r(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Pearson correlation of truth and score; it does not exist where either is constant."""
    truth = _centred(rows["truth"])
    score = _centred(rows["score"])
    n = weights.sum(axis=1)
    covariance = weights @ (truth * score) - ratio((weights @ truth) * (weights @ score), n)
    spread = _spread(rows["truth"], weights) * _spread(rows["score"], weights)
    return ratio(covariance, np.sqrt(spread))


@metric(
    "r2",
    "coefficient of determination",
    _VALUES,
    better=1,
    best=1.0,
    worst=-np.inf,
    condition="a truth that varies",
)
def r2(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """1 minus the residual over the total sum of squares; the truth must vary."""
    return 1.0 - ratio(weights @ np.square(_error(rows)), _spread(rows["truth"], weights))


def weighted_auroc(positive: Array, score: FloatArray, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve under several weightings, ties counted half (Mann-Whitney).

    Args:
        positive: (n,) bool, the rows of the class.
        score: (n,) numbers that order the rows; nothing else about them counts.
        weights: (draws, n), 0 or more.

    Returns:
        (draws,) in 0 to 1, NaN where either class has no weight.
    """
    return ratio(*_ordered_pairs(positive, score, weights))


def _ordered_pairs(positive: Array, score: FloatArray, weights: FloatArray) -> Share:
    """Weights (draws,) of the pairs of both classes in the right order, and of all such pairs."""
    order = np.argsort(score, kind="stable")
    starts = _starts_of_ties(score[order])
    positives = np.add.reduceat((weights * positive)[:, order], starts, axis=1)
    negatives = np.add.reduceat((weights * ~positive)[:, order], starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    right = (positives * (below + negatives / 2)).sum(axis=1)
    return right, positives.sum(axis=1) * negatives.sum(axis=1)


def weighted_auprc(positive: Array, score: FloatArray, weights: FloatArray) -> FloatArray:
    """Average precision under several weightings, ties taken together.

    It is the step sum of precision over recall, as scikit-learn defines it.

    Args:
        positive: (n,) bool, the rows of the class.
        score: (n,) numbers that order the rows.
        weights: (draws, n), 0 or more.

    Returns:
        (draws,) in 0 to 1, NaN where the class has no weight; 1 where the other class has none.
    """
    return ratio(*_precision_of_positives(positive, score, weights))


def _precision_of_positives(positive: Array, score: FloatArray, weights: FloatArray) -> Share:
    """Sum (draws,) of the precision at each positive row, and the weight of these rows."""
    order = np.argsort(-score, kind="stable")
    starts = _starts_of_ties(score[order])
    hits = np.add.reduceat((weights * positive)[:, order], starts, axis=1)
    rows = np.cumsum(np.add.reduceat(weights[:, order], starts, axis=1), axis=1)
    precision = np.where(rows > 0, np.cumsum(hits, axis=1) / np.maximum(rows, 1e-12), 0)
    return (hits * precision).sum(axis=1), hits.sum(axis=1)


def _precision_beside_negatives(positive: Array, score: FloatArray, weights: FloatArray) -> Share:
    """``_precision_of_positives`` where both classes have weight: with one, every order is as
    good.
    """
    total, positives = _precision_of_positives(positive, score, weights)
    both = (weights * ~positive).sum(axis=1) > 0
    return np.where(both, total, 0.0), np.where(both, positives, 0.0)


def _starts_of_ties(ordered: FloatArray) -> Array:
    """Index of the first of each run of equal numbers."""
    return np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1])


def _one_against_the_others(
    rows: ScoredRows, weights: FloatArray, share: ShareOfClass, parts: Sequence[IntArray]
) -> FloatArray:
    """A share of the second of two classes, or its mean over the classes.

    Args:
        rows: The table.
        weights: (draws, n).
        share: Numerator and denominator for the rows of a part.
        parts: Indexes of the rows that are compared with each other. The numerators of all parts
            are added, and so are the denominators.

    Returns:
        (draws,) values, NaN where a denominator is 0.
    """
    classes = [1] if rows.kind is Kind.BINARY else list(range(rows.n_classes))
    values = []
    for k in classes:
        positive = rows["truth"] == k
        score = rows["score"] if rows.kind is Kind.BINARY else rows[f"score_{k}"]
        numerator = np.zeros(len(weights))
        denominator = np.zeros(len(weights))
        for part in parts:
            over, under = share(positive[part], score[part], weights[:, part])
            numerator += over
            denominator += under
        values.append(ratio(numerator, denominator))
    return np.asarray(np.mean(values, axis=0))


@metric(
    "auroc",
    "area under the ROC curve",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=f"{_EVERY_CLASS} in one fold",
    within_folds=True,
)
def auroc(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve within folds, ties counted half.

    It is the share of the pairs (a row of the class and another row, both in one fold of one
    repeat) that are in the right order. That is the mean over the folds, weighted by their numbers
    of pairs. For several classes it is the mean over the classes.
    """
    return _one_against_the_others(rows, weights, _ordered_pairs, rows.of_folds())


@metric(
    "auroc_pooled",
    "area under the ROC curve over the scores of all folds",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=_EVERY_CLASS,
)
def auroc_pooled(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Area under the ROC curve of all rows together, as if one fit had scored them."""
    return _one_against_the_others(rows, weights, _ordered_pairs, [np.arange(len(rows))])


@metric(
    "auprc",
    "area under the precision-recall curve",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=f"{_EVERY_CLASS} in one fold",
    within_folds=True,
)
def auprc(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Average precision within folds.

    It is the mean over the folds of all repeats, weighted by their positives; a fold without
    negatives has no weight, since every order of its rows is as good. For several classes it is
    the mean over the classes.
    """
    return _one_against_the_others(rows, weights, _precision_beside_negatives, rows.of_folds())


@metric(
    "auprc_pooled",
    "area under the precision-recall curve over the scores of all folds",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=_EVERY_CLASS,
)
def auprc_pooled(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Average precision of all rows together, as if one fit had scored them."""
    parts = [np.arange(len(rows))]
    return _one_against_the_others(rows, weights, _precision_beside_negatives, parts)


def decided(kind: Kind, columns: Columns) -> FloatArray:
    """Decide a class for each row: the second of two from 0.5 on, the most probable of several.

    Args:
        kind: BINARY or CLASSES.
        columns: The table with its scores.

    Returns:
        (n,) class indexes as floats.
    """
    if kind is Kind.BINARY:
        return np.asarray(columns["score"] >= 0.5, dtype=np.float64)
    return np.asarray(class_scores(kind, columns).argmax(axis=1), dtype=np.float64)


@metric(
    "balanced_accuracy",
    "balanced accuracy",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=_EVERY_CLASS,
)
def balanced_accuracy(rows: ScoredRows, weights: FloatArray) -> FloatArray:
    """Mean recall over the classes, as ``decided`` decides them; each must have rows."""
    right = decided(rows.kind, rows.columns) == rows["truth"]
    return mean_recall(rows["truth"], right, rows.n_classes, weights)


def mean_recall(truth: Array, right: Array, n: int, weights: FloatArray) -> FloatArray:
    """Mean recall over ``n`` classes under weights (draws, n): (draws,), NaN if one is absent."""
    recalls = []
    for k in range(n):
        of_class = truth == k
        hits = weights @ (right & of_class).astype(np.float64)
        recalls.append(ratio(hits, weights @ of_class.astype(np.float64)))
    return np.asarray(np.mean(recalls, axis=0))


def binary_auroc(truth: FloatArray, score: FloatArray) -> float:
    """Area under the ROC curve of arrays.

    Args:
        truth: (n,) 1 for the class, anything else for the other.
        score: (n,) numbers, larger for the class.

    Raises:
        UndefinedError: Where one class has no rows.

    Example:
        >>> import numpy as np
        >>> binary_auroc(np.array([0, 1, 1]), np.array([0.2, 0.2, 0.9]))
        0.75
    """
    both_classes(truth, "auroc")
    return float(weighted_auroc(truth == 1, score, np.ones((1, len(truth))))[0])


def binary_auprc(truth: FloatArray, score: FloatArray) -> float:
    """Average precision of arrays; arguments and errors as for ``binary_auroc``.

    Example:
        >>> import numpy as np
        >>> binary_auprc(np.array([0, 1, 1]), np.array([0.2, 0.5, 0.9]))
        1.0
    """
    both_classes(truth, "auprc")
    return float(weighted_auprc(truth == 1, score, np.ones((1, len(truth))))[0])


def both_classes(truth: FloatArray, name: str) -> None:
    """Raise UndefinedError, naming the metric, unless truth (n,) holds 1 and something else."""
    positive = int((truth == 1).sum())
    if positive in (0, len(truth)):
        raise UndefinedError(
            f"{name} needs both classes, got {positive} positive and "
            f"{len(truth) - positive} negative."
        )


def evaluate(kind: Kind, columns: Columns, patients: Array) -> dict[str, float]:
    """Compute every metric of a kind for rows of one fold.

    Args:
        kind: What the scores mean.
        columns: The table, arrays (n,) by name.
        patients: (n,) names.

    Returns:
        Values by name, as ``evaluate_rows`` gives them.

    Raises:
        UndefinedError: For a table that no metric can score.
    """
    return evaluate_rows(ScoredRows(kind, columns, patients))


def evaluate_rows(rows: ScoredRows) -> dict[str, float]:
    """Compute every metric of the kind of a table.

    Args:
        rows: The table, as ``ScoredRows.of`` takes it from predictions.

    Returns:
        Values by name. A metric that does not exist for these rows (AUROC of one class) is left
        out.

    Raises:
        UndefinedError: For a table that no metric can score: no rows, or values that are not
            finite.
    """
    values: dict[str, float] = {}
    for item in METRICS.values():
        if rows.kind not in item.kinds:
            continue
        try:
            values[item.name] = item.value(rows)
        except UndefinedError:
            check_columns(item.name, rows.columns, rows.patients)
    return values
