"""The variance over patients of metrics that read decided classes.

A decision is right or wrong, and the variance of a share of right ones is known from the share. The
jackknife does not know it where a fit gives nearly everybody the same answer: each class is then nearly
always right or nearly always wrong, and a mean of recalls hardly moves with the patients. Other
training patients give other decisions, though.
"""

from __future__ import annotations

import numpy as np

from etab.metrics.base import METRICS
from etab.metrics.columns import ScoredRows, score_columns
from etab.metrics.forms import Form, Sums, Units
from etab.metrics.shared import distinct
from etab.types import Array, FloatArray, IntArray, Kind


def variance_of_decisions(
    metric: str, rows: ScoredRows, people: FloatArray, factor: float, factor_of_value: float
) -> float:
    """Compute what decided classes add to the variance of an encoder.

    Args:
        metric: Its name in ``METRICS``.
        rows: The prediction table.
        people: (repeats, patients) by how much each patient moves the value of each repeat.
        factor: What the training draw multiplies the variance over patients of decisions by.
        factor_of_value: The same of other values, which is counted already.

    Returns:
        The variance, 0 for other metrics.
    """
    if not METRICS[metric].of_decisions:
        return 0.0
    parts = [rows.select(of_repeat) for of_repeat in rows.of_repeats()]
    even = float(np.mean([variance_of_even_answers(metric, part) for part in parts]))
    within = float(np.square(people).sum() / len(people))
    return factor * max(even, within) - factor_of_value * within


def variance_of_even_answers(metric: str, rows: ScoredRows) -> float:
    """Compute the variance over patients if each were answered rightly with the same probability.

    Args:
        metric: A metric of decided classes.
        rows: The prediction table of one repeat.

    Returns:
        p (1 - p) times the sum of the squares of what a wrong answer to one patient changes when
        all others are answered rightly. p places the value between that of wrong answers alone (0)
        and that of right answers alone (1).

    Example:
        >>> truth = np.array([0.0, 0.0, 1.0, 1.0])
        >>> columns = {"truth": truth, "score": np.zeros(4)}
        >>> constant = ScoredRows(Kind.BINARY, columns, np.array(["a", "b", "c", "d"]))
        >>> variance_of_even_answers("balanced_accuracy", constant)
        0.0625
    """
    names, of_row, _ = distinct(rows.patients)
    n = len(names)
    truth = rows["truth"].astype(np.int64)
    answers = np.concatenate([truth, (truth + 1) % rows.n_classes])
    twice = rows.select(np.tile(np.arange(len(rows)), 2))
    answered = ScoredRows(rows.kind, _answered(twice, answers), twice.patients)
    units = Units(np.concatenate([of_row, of_row + n]), 2 * n)
    right, wrong, *with_one_wrong = _values(METRICS[metric].prepared(answered, units), n).tolist()
    if right == wrong:
        return 0.0
    share = float(np.clip((METRICS[metric].value(rows) - wrong) / (right - wrong), 0, 1))
    return share * (1 - share) * float(np.square(np.array(with_one_wrong) - right).sum())


def _answered(rows: ScoredRows, answers: IntArray) -> dict[str, FloatArray]:
    """The columns of a table with these answers (n,), as classes and as scores."""
    scores = answers.astype(np.float64)
    if rows.kind is Kind.CLASSES:
        scores = np.eye(rows.n_classes)[answers]
    columns = {**rows.columns, **score_columns(rows.kind, scores)}
    if "answer" in columns:
        columns["answer"] = answers.astype(np.float64)
    return columns


def _values(form: Form, n: int) -> FloatArray:
    """Values (2 + n,) of right answers alone, of wrong ones alone, and with one patient's wrong.

    Args:
        form: A metric of 2 n units: n patients answered rightly, then the same answered wrongly.
        n: Number of patients.
    """
    if isinstance(form, Sums):
        right, wrong = form.values[:n], form.values[n:]
        totals = [
            right.sum(axis=0)[None],
            wrong.sum(axis=0)[None],
            right.sum(axis=0) - right + wrong,
        ]
        return form.from_totals(np.concatenate(totals).T)
    is_wrong: Array = np.concatenate([np.zeros((n, 1)), np.ones((n, 1)), np.eye(n)], axis=1)
    return form.draws(np.concatenate([1 - is_wrong, is_wrong]).astype(np.uint8))
