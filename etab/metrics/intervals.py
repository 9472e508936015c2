"""The intervals of a cell.

*These probes on new patients*: the same resamples of patients wherever it is computed. A run writes
it into the record, ``etab rescore`` computes it anew, and a board compares the two.

*This encoder*: from the standard error that ``etab.metrics.inference`` computes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from etab.errors import UndefinedError
from etab.metrics import uncertainty
from etab.metrics.base import METRICS
from etab.metrics.columns import ScoredRows
from etab.metrics.shared import distinct
from etab.results import Predictions
from etab.types import IntArray

BOOTSTRAPS = 2000
LEVEL = 0.95

_FARTHEST = 3.0
"""Half widths of Student's interval within which the ends of an interval in logits stay."""

_STREAM = 1  # the number that keeps resamples apart from the other random draws of a cell
_SHARED_UP_TO = 1000  # patients: resamples of more are drawn anew for each backbone, to save memory


def cell_rng(task: str, seed: int, stream: int) -> np.random.Generator:
    """Make a random generator of a cell.

    It is the same for every backbone, so that backbones share folds and resamples.

    Args:
        task: Code of the task.
        seed: Seed of the cell, 0 or more.
        stream: A number for each use.

    Returns:
        A new generator.
    """
    return np.random.default_rng([seed, stream, *task.encode()])


def interval_of(
    task: str,
    metric: str,
    seed: int,
    table: Predictions,
) -> uncertainty.ConfidenceInterval:
    """Compute the 95 % interval of a metric over resamples of the patients.

    Args:
        task: Code of the task; with the seed it decides the resamples.
        metric: The metric of the task.
        seed: Seed of the cell.
        table: The predictions of the cell.

    Returns:
        The value and its interval, as the record of the cell holds them.

    Raises:
        UndefinedError: If the metric does not exist, or not in 5 % of the resamples.
    """
    n_patients = len(set(table.patients))
    draw = _resamples if n_patients <= _SHARED_UP_TO else _resamples.__wrapped__
    resamples = draw(task, seed, n_patients)
    return uncertainty.resampled(metric, ScoredRows.of(table), resamples, level=LEVEL)


def interval_of_encoder(metric: str, value: float, half: float) -> tuple[float, float]:
    """Place the interval of an encoder around a value.

    Student's interval is symmetric, and ends at a limit of the metric. That of an area (AUROC,
    AUPRC) is symmetric in logits: an area of 0.97 has more room below than above, and the larger it
    is by chance, the smaller is its standard error. Where few pairs of rows are out of order, logits
    change so much that such an interval would hold nearly every area; no end is more than three half
    widths away.

    Args:
        metric: Name of the metric.
        value: The value in the metric's unit.
        half: Half width of Student's interval, in the same unit, 0 or more.

    Returns:
        The lower and the upper end.

    Example:
        >>> low, high = interval_of_encoder("auroc", 0.9, 0.09)
        >>> round(low, 3), round(high, 3)
        (0.768, 0.961)
        >>> interval_of_encoder("mae", 2.0, 3.0)
        (0.0, 5.0)
    """
    lowest, highest = METRICS[metric].limits
    if METRICS[metric].in_logits and 0 < value < 1:
        logit = math.log(value / (1 - value))
        reach = half / (value * (1 - value))
        low = max(_share(logit - reach), value - _FARTHEST * half)
        return low, min(_share(logit + reach), value + _FARTHEST * half)
    return max(value - half, lowest), min(value + half, highest)


def _share(logit: float) -> float:
    """The share of a logit; 0 and 1 at its ends."""
    return float(0.5 * (1 + np.tanh(logit / 2)))


def intervals_together(
    task: str,
    metric: str,
    seed: int,
    cells: Sequence[tuple[float, Predictions]],
) -> list[uncertainty.ConfidenceInterval | UndefinedError]:
    """Compute ``interval_of`` for the tables of several backbones at once.

    Args:
        task: Code of the task; with the seed it decides the resamples.
        metric: The metric of the task.
        seed: Seed of the cells.
        cells: Value of the metric and predictions of each cell.

    Returns:
        The interval of each cell, or why there is none.
    """
    by_patients: dict[tuple[str, ...], list[int]] = {}
    for number, (_, table) in enumerate(cells):
        by_patients.setdefault(table.patients, []).append(number)
    intervals: dict[int, uncertainty.ConfidenceInterval | UndefinedError] = {}
    for numbers in by_patients.values():
        tables = [ScoredRows.of(cells[number][1]) for number in numbers]
        order, _, _ = distinct(tables[0].patients)
        draw = _resamples if len(order) <= _SHARED_UP_TO else _resamples.__wrapped__
        try:
            resamples = draw(task, seed, len(order))
            of_tables = uncertainty.weighted_together(metric, tables, order, resamples)
        except UndefinedError as error:
            intervals |= dict.fromkeys(numbers, error)
            continue
        values = [cells[number][0] for number in numbers]
        of_values = uncertainty.percentile_intervals(
            values, np.stack(of_tables), level=LEVEL, method=uncertainty.OVER_PATIENTS
        )
        intervals |= dict(zip(numbers, of_values, strict=True))
    return [intervals[number] for number in range(len(cells))]


@lru_cache(maxsize=64)
def _resamples(task: str, seed: int, n_patients: int) -> IntArray:
    """How often each patient is drawn in each resample of a cell, for every backbone."""
    rng = cell_rng(task, seed, _STREAM)
    return uncertainty.resample_weights(n_patients, BOOTSTRAPS, rng)
