"""Metrics of classes: AUROC, AUPRC and balanced accuracy.

Conventions:

* A score of BINARY is the probability of the second class, a score of CLASSES is one probability
  per class.
* For several classes AUROC and AUPRC are means over the classes, each against the others.
* Scores of two folds come from two fits: they lie on two scales, and a fit is biased against the
  classes of its own test fold, since a class that is frequent there is rare in its training rows.
  AUROC and AUPRC compare only scores of one fold. ``auroc_pooled`` and ``auprc_pooled`` compare all
  scores.
* A metric that does not exist (AUROC of rows of one class) raises UndefinedError; it is never
  returned as 0, 0.5 or NaN.

Each public name below is a ``Metric``: call it with columns and patients.

Example:
    >>> import numpy as np
    >>> columns = {"truth": np.array([0.0, 0.0, 1.0, 1.0]), "score": np.array([0.1, 0.6, 0.6, 0.9])}
    >>> auroc(columns, np.array(["p1", "p2", "p3", "p4"]))
    0.875
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etab.errors import UndefinedError
from etab.metrics import values as values
from etab.metrics.area_tables import areas
from etab.metrics.areas import AveragePrecision, Pairs, PairsOfTables, PrecisionOfTables
from etab.metrics.base import METRICS, metric_of_patients, metric_of_tables
from etab.metrics.columns import Columns, ScoredRows, check_columns, class_scores
from etab.metrics.forms import Form, FormsOfTables, Units, mean_of, mean_of_forms
from etab.metrics.sorted_rows import compared_rows, ranked_rows
from etab.types import Array, FloatArray, Kind

_CLASSES = (Kind.BINARY, Kind.CLASSES)
EVERY_CLASS = "rows of every class"
"""Condition of a metric that compares the rows of one class with those of another."""


def weighted_auroc(
    positive: Array,
    score: FloatArray,
    weights: FloatArray,
) -> FloatArray:
    """Area under the ROC curve under several weightings, ties counted half (Mann-Whitney).

    Args:
        positive: (n,) bool, the rows of the class.
        score: (n,) numbers; only the order that they give the rows matters.
        weights: (draws, n), 0 or more.

    Returns:
        (draws,) in 0 to 1, NaN where either class has no weight.
    """
    n = len(score)
    part = compared_rows(positive, score, Units.single_rows(n))
    return Pairs([part], n).draws(np.asarray(weights).T)


def weighted_auprc(
    positive: Array,
    score: FloatArray,
    weights: FloatArray,
) -> FloatArray:
    """Average precision under several weightings, ties taken together.

    It is the step sum of precision over recall, as scikit-learn defines it.

    Args:
        positive: (n,) bool, the rows of the class.
        score: (n,) numbers that order the rows.
        weights: (draws, n), 0 or more.

    Returns:
        (draws,) in 0 to 1, NaN where the class has no weight; 1 where the other class has none.
    """
    n = len(score)
    part = ranked_rows(positive, score, Units.single_rows(n))
    return AveragePrecision([part], n, both_classes=False).draws(np.asarray(weights).T)


@metric_of_tables(
    "auroc",
    "area under the ROC curve",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=f"{EVERY_CLASS} in one fold",
    within_folds=True,
    in_logits=True,
)
def auroc(tables: Sequence[ScoredRows], units: Units) -> FormsOfTables:
    """Area under the ROC curve within folds, ties counted half.

    It is the share of the pairs (a row of the class and another row, both in one fold of one
    repeat) that are in the right order. That is the mean over the folds, weighted by their numbers
    of pairs. For several classes it is the mean over the classes.

    Args:
        tables: Prediction tables with the same rows and truth.
        units: The patient of each row, whose weights the form takes.
    """
    return areas(PairsOfTables, tables, tables[0].of_folds(), units)


@metric_of_tables(
    "auroc_pooled",
    "area under the ROC curve over the scores of all folds",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=EVERY_CLASS,
    in_logits=True,
)
def auroc_pooled(tables: Sequence[ScoredRows], units: Units) -> FormsOfTables:
    """Area under the ROC curve of all rows together, as if one fit had scored them.

    Args:
        tables: Prediction tables with the same rows and truth.
        units: The patient of each row, whose weights the form takes.
    """
    every_row = [np.arange(len(tables[0]))]
    return areas(PairsOfTables, tables, every_row, units)


@metric_of_tables(
    "auprc",
    "area under the precision-recall curve",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=f"{EVERY_CLASS} in one fold",
    within_folds=True,
    in_logits=True,
)
def auprc(tables: Sequence[ScoredRows], units: Units) -> FormsOfTables:
    """Average precision within folds.

    It is the mean over the folds of all repeats, weighted by their positives; a fold without
    negatives has no weight, since every order of its rows is as good. For several classes it is
    the mean over the classes.

    Args:
        tables: Prediction tables with the same rows and truth.
        units: The patient of each row, whose weights the form takes.
    """
    return areas(PrecisionOfTables, tables, tables[0].of_folds(), units)


@metric_of_tables(
    "auprc_pooled",
    "area under the precision-recall curve over the scores of all folds",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=EVERY_CLASS,
    in_logits=True,
)
def auprc_pooled(tables: Sequence[ScoredRows], units: Units) -> FormsOfTables:
    """Average precision of all rows together, as if one fit had scored them.

    Args:
        tables: Prediction tables with the same rows and truth.
        units: The patient of each row, whose weights the form takes.
    """
    every_row = [np.arange(len(tables[0]))]
    return areas(PrecisionOfTables, tables, every_row, units)


def decided(kind: Kind, columns: Columns) -> FloatArray:
    """Decide a class for each row: the second of two at 0.5 or above, the most probable of several.

    Args:
        kind: BINARY or CLASSES.
        columns: The table with its scores.

    Returns:
        (n,) class indexes as floats.
    """
    if kind is Kind.BINARY:
        return np.asarray(columns["score"] >= 0.5, dtype=np.float64)
    return np.asarray(class_scores(kind, columns).argmax(axis=1), dtype=np.float64)


@metric_of_patients(
    "balanced_accuracy",
    "balanced accuracy",
    _CLASSES,
    better=1,
    best=1.0,
    worst=0.0,
    condition=EVERY_CLASS,
    by_row=True,
    decides=True,
)
def balanced_accuracy(rows: ScoredRows, units: Units) -> Form:
    """Mean recall over the classes, as ``decided`` decides them; each must have rows.

    Args:
        rows: The prediction table.
        units: The patient of each row, whose weights the form takes.
    """
    right = decided(rows.kind, rows.columns) == rows["truth"]
    recalls: list[Form] = []
    for k in range(rows.n_classes):
        recalls.append(mean_of(right, units, rows["truth"] == k))
    return mean_of_forms(recalls)


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
    """Average precision of arrays.

    Args:
        truth: (n,) 1 for the class, anything else for the other.
        score: (n,) numbers, larger for the class.

    Raises:
        UndefinedError: Where one class has no rows.

    Example:
        >>> import numpy as np
        >>> binary_auprc(np.array([0, 1, 1]), np.array([0.2, 0.5, 0.9]))
        1.0
    """
    both_classes(truth, "auprc")
    return float(weighted_auprc(truth == 1, score, np.ones((1, len(truth))))[0])


def both_classes(truth: FloatArray, name: str) -> None:
    """Check that both classes have rows.

    Args:
        truth: (n,) 1 for the class, anything else for the other.
        name: Name of the metric in errors.

    Raises:
        UndefinedError: One class has no rows.
    """
    positive = int((truth == 1).sum())
    negative = len(truth) - positive
    if positive == 0 or negative == 0:
        raise UndefinedError(
            f"{name} needs both classes, got {positive} positive and {negative} negative."
        )


def evaluate(
    kind: Kind,
    columns: Columns,
    patients: Array,
) -> dict[str, float]:
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
