"""Decision rules that look chosen on the test rows: they are the best there in nearly every fold."""

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

# Rules look chosen on the test rows if they are the best there in more folds than this share of all
# and one more. In published cells they are the best in at most 44 % of 25 folds, or in 4 of 5: with
# few rows, many rules give the same decisions.
_CHOSEN_ON_TEST = 0.6
_FEWEST_FOLDS = 4
_SAME = 1e-9


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
