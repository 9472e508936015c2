"""Scores of tasks and of backbones as they were documented in 2022, with their intervals."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from etab.errors import UndefinedError
from etab.metrics import base
from etab.results import Result
from etab.tasks.base import Task
from etab.types import Array


class TaskScore(NamedTuple):
    """The score of one task.

    Attributes:
        value: The metric in [0, 1], as boards compute it.
        low: The lower end of the 95 % interval, by Student's t over the folds. The interval is
            symmetric: with few folds an end can be outside [0, 1].
        high: The upper end.
        metric: The name of the metric.
        folds: The metric of each fold; NaN where it is undefined.
        patients: The number of patients.
    """

    value: float
    low: float
    high: float
    metric: str
    folds: tuple[float, ...]
    patients: int


class ScoreAndInterval(tuple[float, tuple[float, float]]):
    """The pair ``(score, (low, high))``, with its parts as attributes.

    Attributes:
        backbone: The name of the backbone.
        tasks: A ``TaskScore`` for each task code.
        weights: The weight of each task in the score; they sum to 1.
        folds: The score of each fold in which the metric of every task is defined.
        phantom: Whether the data are a phantom.
        results: The full records if probes were fitted; empty if heads were trained.
    """

    backbone: str
    tasks: Mapping[str, TaskScore]
    weights: Mapping[str, float]
    folds: tuple[float, ...]
    phantom: bool
    results: tuple[Result, ...]

    @classmethod
    def of(
        cls,
        backbone: str,
        tasks: Mapping[str, TaskScore],
        weights: Mapping[str, float],
        *,
        phantom: bool,
        results: Sequence[Result] = (),
    ) -> ScoreAndInterval:
        """Combine the scores of tasks, fold by fold.

        Args:
            backbone: The name of the backbone.
            tasks: The score of each task.
            weights: The weight of each task; they sum to 1.
            phantom: Whether the data are a phantom.
            results: The records of the probes.

        Raises:
            UndefinedError: Fewer than two folds have every metric.
        """
        by_task = np.array([tasks[code].folds for code in weights])
        of_folds = np.array(list(weights.values())) @ by_task
        folds = tuple(float(value) for value in of_folds if np.isfinite(value))
        half = half_width(folds, "the score")
        weighted = [weight * tasks[code].value for code, weight in weights.items()]
        score = float(sum(weighted))
        pair = cls((score, (score - half, score + half)))
        pair.backbone = backbone
        pair.tasks = dict(tasks)
        pair.weights = dict(weights)
        pair.folds = folds
        pair.phantom = phantom
        pair.results = tuple(results)
        return pair

    def _title(self) -> str:
        """Describe the score in one line."""
        score, (low, high) = self
        phantom = " — PHANTOM data, not patients" if self.phantom else ""
        return f"{self.backbone}: ETAB score {score:.3f} [{low:.3f}, {high:.3f}]{phantom}"

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """Return (code, weight, metric, value, interval) of each task, as text."""
        rows = []
        for code, task in self.tasks.items():
            weight = f"{self.weights[code]:.3f}"
            interval = f"[{task.low:.3f}, {task.high:.3f}]"
            rows.append((code, weight, task.metric, f"{task.value:.3f}", interval))
        return rows

    def _repr_html_(self) -> str:
        """Render the score and its tasks for a notebook."""
        columns = ("task", "weight", "metric", "value", "95 % interval")
        head = "".join(f"<th>{column}</th>" for column in columns)
        rows = []
        for row in self.table():
            cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in row)
            rows.append(f"<tr>{cells}</tr>")
        title = html.escape(self._title())
        return f"<p><b>{title}</b></p><table><tr>{head}</tr>{''.join(rows)}</table>"


def task_score(task: Task, columns: Mapping[str, Any], patients: Array, folds: Array) -> TaskScore:
    """Score a table and each of its folds by the task's metric of 2022, in [0, 1].

    Args:
        task: The task.
        columns: The columns (n,) of the table of predictions.
        patients: The patient (n,) of each row.
        folds: The name (n,) of the fold of each row.

    Raises:
        UndefinedError: The metric is defined in fewer than two folds.
    """
    metric = base.METRICS[task.metric_2022]
    of_folds = []
    for name in dict.fromkeys(folds.tolist()):
        tested = folds == name
        fold_columns = {column: np.asarray(values)[tested] for column, values in columns.items()}
        try:
            value = metric(fold_columns, patients[tested])
        except UndefinedError:
            value = float("nan")
        of_folds.append(max(value, 0.0))
    defined = [value for value in of_folds if np.isfinite(value)]
    half = half_width(defined, task.code)
    whole = max(metric(columns, patients, folds=folds), 0.0)
    return TaskScore(
        value=whole,
        low=whole - half,
        high=whole + half,
        metric=task.metric_2022,
        folds=tuple(of_folds),
        patients=len(set(patients.tolist())),
    )


def half_width(values: Sequence[float], name: str) -> float:
    """Compute half the width of the 95 % interval of the mean over folds, by Student's t.

    Args:
        values: The metric of each fold in which it is defined.
        name: The name of the score, for the message.

    Raises:
        UndefinedError: There are fewer than two folds.
    """
    from scipy import stats

    if len(values) < 2:
        raise UndefinedError(
            f"The interval of {name} needs two folds in which its metric is defined; it is defined "
            f"in {len(values)} (a fold of one class has no AUROC). Use fewer folds, or more "
            "patients."
        )
    quantile = stats.t.ppf(0.975, len(values) - 1)
    return float(quantile * stats.sem(values))
