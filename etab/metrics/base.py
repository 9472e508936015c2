"""What a metric is, and the registry of metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError
from etab.registry import Registry
from etab.types import Array, FloatArray, Kind

Columns = Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with its range and direction. ``better`` is +1 or -1; 0 where neither direction is better (a bias).

    ``needs`` are columns beyond truth and score: without them the metric does not exist. ``reached`` is False where
    what the best answer gets depends on the rows.
    """

    name: str
    title: str
    kinds: frozenset[Kind]
    better: int
    best: float
    worst: float
    unit: str
    function: Callable[[Columns, Array], float]
    needs: frozenset[str] = frozenset()
    reached: bool = True

    def __call__(self, columns: Columns, patients: Array) -> float:
        """Compute it from the columns of a prediction table; raises UndefinedError where it does not exist."""
        check_columns(self.name, columns, patients)
        absent = sorted(self.needs - set(columns))
        if absent:
            raise UndefinedError(
                f"{self.name} needs the column {absent[0]!r}, which these predictions lack."
            )
        return float(self.function(columns, patients))


METRICS: Registry[Metric] = Registry("metric")


def check_columns(name: str, columns: Columns, patients: Array) -> None:
    """Raise UndefinedError for no rows, columns of different lengths, or values that are not finite."""
    if len(patients) == 0:
        raise UndefinedError(f"{name} of no rows at all does not exist: there is nothing to score.")
    for key, values in columns.items():
        if len(values) != len(patients):
            raise UndefinedError(
                f"{name}: column {key!r} has {len(values)} rows, patients have {len(patients)}."
            )
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise UndefinedError(f"{name}: column {key!r} holds {bad} values that are not finite.")


def _metric(
    name: str,
    title: str,
    kinds: tuple[Kind, ...],
    better: int,
    best: float,
    worst: float,
    unit: str = "",
) -> Callable[[Callable[[Columns, Array], float]], Callable[[Columns, Array], float]]:
    def add(function: Callable[[Columns, Array], float]) -> Callable[[Columns, Array], float]:
        METRICS.add(
            name, Metric(name, title, frozenset(kinds), better, best, worst, unit, function)
        )
        return function

    return add


def per_patient(values: FloatArray, patients: Array) -> tuple[Array, FloatArray]:
    """Mean over the rows of each patient: (sorted patients, means)."""
    names, inverse, counts = np.unique(patients, return_inverse=True, return_counts=True)
    return names, np.bincount(inverse, weights=values) / counts
