"""From scores to decided classes: a threshold or class weights, chosen on training folds only.

There are two ways (``DECISIONS``):

* ``metric``, the default: the rule that is best by the task's own metric. The scores to choose by
  are out-of-fold within the training rows: each inner part is answered by a head that was fitted
  without it.
* ``balanced``: what a fit with balanced classes and a threshold of 0.5 decides. For a head that
  fits the rows as they are, the score of a class is compared with its share of the training rows;
  for a head that balances classes itself, the likeliest class is taken. This is meant for test rows
  with other shares than the training rows, as where one database is left out: a threshold that is
  best on some databases is that of their shares.

Test rows have no part in either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np

from etab.errors import UndefinedError
from etab.metrics import METRICS, Metric
from etab.metrics.columns import Columns, ScoredRows, class_scores
from etab.metrics.forms import Form, Sums, Units
from etab.splits import inner_fits
from etab.tasks.base import Task
from etab.types import Array, FloatArray, IntArray, Kind, RowSplit

Answers = Callable[[Sequence[RowSplit]], list[Any]]
Table = Callable[[IntArray, FloatArray], dict[str, FloatArray]]

DECISIONS = ("metric", "balanced")
N_FACTORS = 3
_AT_MOST = 200
_SAME = 1e-12  # largest difference of equal values, relative to 1 or the value
_FACTORS = ((0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0), (0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0))


@dataclass(frozen=True, slots=True)
class Rule:
    """How scores become classes.

    Attributes:
        threshold: Probability of the second of two classes from which it is decided.
        factors: A factor for each class, by which scores are multiplied before the largest is
            taken; empty where ``threshold`` decides.
        value: The task's metric on the training rows; None where it was not looked at.
    """

    threshold: float = 0.5
    factors: tuple[float, ...] = ()
    value: float | None = 0.0

    def __call__(self, columns: Columns) -> FloatArray:
        """Decided classes (n,) of scores."""
        if not self.factors:
            return (columns["score"] >= self.threshold).astype(np.float64)
        scores = class_scores(Kind.CLASSES, columns)
        return np.asarray((scores * self.factors).argmax(axis=1), dtype=np.float64)

    def facts(self) -> dict[str, Any]:
        """The facts that a result records about the rule."""
        chosen = {"factors": list(self.factors)} if self.factors else {"threshold": self.threshold}
        return chosen if self.value is None else {**chosen, "training_value": self.value}


def needed(task: Task) -> bool:
    """Whether the task's metric is of decided classes."""
    return "answer" in METRICS[task.metric].needs


def choose(
    task: Task, splits: Sequence[RowSplit], patients: Array, answers: Answers, table: Table
) -> list[Rule]:
    """Choose a rule for each split, by its training rows alone.

    Args:
        task: The task.
        splits: The splits, with their inner parts.
        patients: (n,) the patient of each row.
        answers: Fits splits and returns the scores of their test rows.
        table: Makes the columns that the metric reads from rows and their scores.

    Returns:
        The rule of each split.

    Raises:
        UndefinedError: If the metric does not exist on the training rows.
    """
    fits, fit_of = inner_fits(splits, patients)
    scores = [np.asarray(answer, dtype=np.float64) for answer in answers(fits)]
    rules = []
    for split, fits_of_parts in zip(splits, fit_of, strict=True):
        parts = [np.sort(part) for part in split.inner]
        values = []
        for part, i in zip(parts, fits_of_parts, strict=True):
            values.append(scores[i][np.searchsorted(fits[i].test, part)])
        rules.append(best_rule(task, table(np.concatenate(parts), np.concatenate(values))))
    return rules


def balanced(
    task: Task, splits: Sequence[RowSplit], table: Table, *, even: bool = False
) -> list[Rule]:
    """Decide as balanced classes do, whatever their shares among the training rows.

    Args:
        task: The task.
        splits: The splits.
        table: Makes the columns of rows (or of their units) from rows and any scores.
        even: Whether the scores are of a fit with balanced classes, so that the likeliest class is
            taken.

    Returns:
        The rule of each split: for two classes a threshold, the share of the second one; for more
        classes factors that divide each score by its share, the factor of the last class being 1.

    Raises:
        UndefinedError: If the training rows of a split lack a class.
    """
    rules: list[Rule] = []
    for split in splits:
        rows = np.sort(split.train)
        n_classes = 2 if task.kind is Kind.BINARY else N_FACTORS
        blank = np.zeros(len(rows)) if n_classes == 2 else np.full((len(rows), n_classes), 1.0)
        truth = table(rows, blank)["truth"].astype(np.int64)
        shares = np.bincount(truth, minlength=n_classes) / len(truth)
        if (shares == 0).any():
            raise UndefinedError(
                f"{task.code}: the training rows of {split.name} lack class "
                f"{int(shares.argmin())}, "
                "so that shares decide nothing. Decide by the metric."
            )
        if even:
            shares = np.full(n_classes, 1 / n_classes)
        if n_classes == 2:
            rules.append(Rule(float(shares[1]), value=None))
        else:
            factors = tuple(float(share) for share in shares[-1] / shares)
            rules.append(Rule(factors=factors, value=None))
    return rules


def best_rule(task: Task, columns: Columns) -> Rule:
    """Choose the rule with the best value of the task's metric; of equally good rules the middle.

    Args:
        task: The task.
        columns: The columns of the training rows.
    """
    rules = list(_thresholds(columns["score"]) if task.kind is Kind.BINARY else _factors())
    metric = METRICS[task.metric]
    answers = np.stack([rule(columns) for rule in rules])
    values = metric.better * _values(metric, columns, answers, task.kind)
    if not np.isfinite(values).any():
        raise UndefinedError(
            f"{task.code}: {metric.name} does not exist on the training rows, so no rule can be "
            "chosen."
        )
    best = np.flatnonzero(values >= np.nanmax(values) - _SAME)
    middle = int(best[len(best) // 2])
    chosen = rules[middle]
    return Rule(
        chosen.threshold, chosen.factors, _value(metric, columns, answers[middle], task.kind)
    )


def _values(metric: Metric, columns: Columns, answers: Array, kind: Kind) -> FloatArray:
    """Values (rules,) of a metric for the answers (rules, n) of each rule, NaN where undefined."""
    middle = len(answers) // 2
    alone = _value(metric, columns, answers[middle], kind)
    if np.isfinite(alone):
        together = _values_together(metric, columns, answers, kind)
        if together is not None and abs(together[middle] - alone) <= _SAME * max(abs(alone), 1.0):
            return together
    return np.array([_value(metric, columns, answer, kind) for answer in answers])


def _values_together(
    metric: Metric, columns: Columns, answers: Array, kind: Kind
) -> FloatArray | None:
    """Values of all rules at once; None for a metric that is not a function of sums over rows.

    The numbers of a row are those of a table in which all rows have its answer. A matrix product
    adds them up for every rule.
    """

    def prepared(answer: Array) -> Form:
        of_rule = ScoredRows(kind, {**columns, "answer": answer}, np.zeros(len(answer)))
        return metric.prepared(of_rule, Units.single_rows(len(answer)))

    middle = answers[len(answers) // 2]
    form = prepared(middle)
    if not isinstance(form, Sums):
        return None
    totals = np.zeros((form.values.shape[1], len(answers)))
    for answer in np.unique(answers):
        of_answer = prepared(np.full(len(middle), answer))
        chosen = middle == answer
        if not isinstance(of_answer, Sums) or of_answer.values.shape != form.values.shape:
            return None
        if not np.array_equal(of_answer.values[chosen], form.values[chosen]):
            return None  # its numbers depend on the answers to other rows
        totals += of_answer.values.T @ (answers == answer).T.astype(np.float64)
    return form.from_totals(totals)


def _value(metric: Metric, columns: Columns, answer: Array, kind: Kind) -> float:
    try:
        return metric({**columns, "answer": answer}, np.zeros(len(answer)), kind)
    except UndefinedError:
        return float("nan")


def _thresholds(scores: FloatArray) -> Iterator[Rule]:
    """Thresholds between neighbouring scores, at most some 200, and those that answer one class
    always.
    """
    values = np.unique(scores)
    if len(values) > _AT_MOST:
        values = np.unique(np.quantile(values, np.linspace(0, 1, _AT_MOST)))
    yield Rule(0.0)
    for a, b in pairwise(values):
        middle = float((a + b) / 2)
        # Between neighbouring floats there is no middle: it rounds to one of them.
        yield Rule(middle if middle > a else float(b))
    yield Rule(1.000001)


def _factors() -> Iterator[Rule]:
    """Factors of the first two of three classes, the gravest first; the last class has 1."""
    for first, second in product(*_FACTORS):
        yield Rule(factors=(first, second, 1.0))


def applied(
    rules: Sequence[Rule], names: Sequence[str], splits: Sequence[RowSplit], columns: Columns
) -> FloatArray:
    """Decide the classes of the test rows of a table.

    Args:
        rules: The rule of each split.
        names: The name of the split that tests each row.
        splits: The splits.
        columns: The columns of the table.
    """
    out = np.empty(len(names))
    of = np.asarray(names)
    for rule, split in zip(rules, splits, strict=True):
        rows = of == split.name
        out[rows] = rule({name: values[rows] for name, values in columns.items()})
    return out
