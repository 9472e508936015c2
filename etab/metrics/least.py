"""The least variance over patients, of metrics that look certain where a fit answers alike.

A fit that gives nearly everybody the same answer is right for nearly all patients of one class and
for nearly none of another, and its R2 is 0. A mean of recalls, or R2, then hardly moves with the
patients, and the jackknife calls it certain. Other training patients give other answers, though.
"""

from __future__ import annotations

import numpy as np

from etab.metrics.base import METRICS
from etab.metrics.columns import ScoredRows, score_columns
from etab.metrics.forms import Form, Sums, Units
from etab.metrics.shared import distinct
from etab.types import Array, FloatArray, IntArray, Kind


def least_variance(metric: str, rows: ScoredRows) -> float | None:
    """Compute the least variance over patients of a value, the mean over repeats.

    Args:
        metric: Its name in ``METRICS``.
        rows: The prediction table, with its repeats.

    Returns:
        The variance in squares of the metric's unit; None for metrics that have no least.

    Example:
        >>> columns = {"truth": np.arange(4.0), "score": np.full(4, 1.5)}
        >>> constant = ScoredRows(Kind.VALUE, columns, np.array(["a", "b", "c", "d"]))
        >>> least_variance("r2", constant), least_variance("mae", constant)
        (0.25, None)
    """
    known = METRICS[metric]
    if not known.of_decisions and known.least is None:
        return None
    least = []
    for of_repeat in rows.of_repeats():
        part = rows.select(of_repeat)
        least.append(known.least(part) if known.least else variance_of_even_answers(metric, part))
    return float(np.mean(least))


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
