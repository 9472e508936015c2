"""Decision rules and heads that look fitted on the test rows.

Such rules are the best ones there in nearly every fold; errors of such heads have a mean of 0 in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from etab.errors import EtabError
from etab.leaderboard.admission.entries import AdmittedEntry, is_constant
from etab.metrics import METRICS
from etab.metrics.columns import ScoredRows
from etab.tasks import thresholds
from etab.tasks.base import Task
from etab.types import Kind

# Rules look chosen on the test rows if they are the best there in more folds than this share of all
# and one more. In published cells they are the best in at most 44 % of 25 folds, or in 4 of 5: with
# few rows, many rules give the same decisions.
_CHOSEN_ON_TEST = 0.6
_FEWEST_FOLDS = 4
_SAME = 1e-9
# Means of the errors of a fold vary as those of so many rows do: their square, over the square of their
# standard error, is 1 in the mean. In published cells it is at least .22; of heads fitted on the test
# rows of each fold it is 0.
_LEAST_SPREAD = 0.01
_FEWEST_OF_FOLD = 8


def rules_of_test_rows(entry: AdmittedEntry) -> Iterator[str]:
    """Find a result whose rules decide the test rows of nearly every fold as well as possible.

    An honest run chooses the rule of a fold on its training rows, so that it is rarely the best one
    for the test rows.

    Args:
        entry: A result of any task. Only metrics that read decided classes have rules.

    Yields:
        The reason, at most once.
    """
    if not thresholds.needed(entry.task) or is_constant(entry.table):
        return
    is_best = [found for found in _folds(entry) if found is not None]
    if len(is_best) >= _FEWEST_FOLDS and sum(is_best) > _CHOSEN_ON_TEST * len(is_best) + 1:
        yield (
            f"in {sum(is_best)} of {len(is_best)} folds no other rule would decide the test rows better: "
            "the rules look chosen on them"
        )


def centred_on_test_rows(entry: AdmittedEntry) -> Iterator[str]:
    """Find a result whose errors have a mean of 0 in every fold, as those of rows fitted on have.

    An intercept that is fitted on the test rows of a fold leaves no mean error there.

    Args:
        entry: A result of any task. Only numbers and the scores of two classes have such errors.

    Yields:
        The reason, at most once.
    """
    table = entry.table
    if table.kind not in (Kind.VALUE, Kind.BINARY) or is_constant(table):
        return
    score, truth = table.columns["score"], table.columns["truth"]
    error = score - truth
    rows_of: dict[tuple[int, str], list[int]] = {}
    for row, fold in enumerate(zip(table.repeats, table.folds, strict=True)):
        rows_of.setdefault(fold, []).append(row)
    spreads = []
    for rows in rows_of.values():
        # Scores that hardly differ have errors that the classes of a fold decide, which are balanced.
        variance = min(float(error[rows].var()), float(score[rows].var()))
        if len(rows) >= _FEWEST_OF_FOLD and variance > 0:
            spreads.append(len(rows) * float(error[rows].mean()) ** 2 / variance)
    if len(spreads) >= _FEWEST_FOLDS and sum(spreads) < _LEAST_SPREAD * len(spreads):
        yield (
            f"the mean error is nearly 0 in each of {len(spreads)} folds: the heads look fitted on the "
            "test rows"
        )


def _folds(entry: AdmittedEntry) -> Iterator[bool | None]:
    """Whether the rule of each fold is the best one for its test rows; None if that says nothing.

    It says nothing if a constant answer is as good, or if the metric is undefined on so few rows.
    """
    rows = ScoredRows.of(entry.table)
    folds = np.array(entry.table.folds)
    repeats = np.array(entry.table.repeats)
    for repeat in np.unique(repeats):
        of_repeat = repeats == repeat
        for fold in np.unique(folds[of_repeat]):
            part = rows.select(np.flatnonzero(of_repeat & (folds == fold)))
            try:
                yield _is_best(entry.task, part)
            except EtabError:
                yield None


def _is_best(task: Task, rows: ScoredRows) -> bool | None:
    """Whether no rule is better than the given answers; None if a constant answer is as good."""
    metric = METRICS[task.metric]
    best = metric.better * (thresholds.best_rule(task, rows.columns).value or 0.0) - _SAME
    for one_class in range(rows.n_classes):
        alike = {**rows.columns, "answer": np.full(len(rows), float(one_class))}
        if metric.better * metric.value(replace(rows, columns=alike)) >= best:
            return None
    return bool(metric.better * metric.value(rows) >= best)
