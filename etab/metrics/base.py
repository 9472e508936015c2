"""What a metric is, and the registry of metrics.

A metric is a function of rows *and weights*: ``weights`` (draws, n) say how much each of n rows
counts, and the result is one value per draw. The plain value is that of weights 1; a bootstrap over
patients passes how often each patient was drawn, all resamples at once. So a metric is written
once, and its intervals cannot disagree with its value.

Where the patients were divided into folds several times, a metric is the mean over these repeats of
its value on all rows of one repeat.

Where a metric has no such form (a median), register it by its plain function: a bootstrap then
repeats rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.metrics.columns import CLASS_KINDS, Columns, ScoredRows, check_columns
from etab.registry import Registry
from etab.types import Array, FloatArray, IntArray, Kind

Weighted = Callable[[ScoredRows, FloatArray], FloatArray]
Plain = Callable[[Columns, Array], float]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric with its range and direction.

    Args:
        name: Its key in ``METRICS``.
        title: Its name in words.
        kinds: The kinds of tables that it scores.
        better: 1 where more is better, -1 where less is, 0 where neither is (a bias).
        best: The value of a perfect prediction.
        worst: The worst possible value; may be infinite.
        unit: The unit, or "".
        function: ``function(columns, patients)`` gives the value. Only for a metric that has no
            weighted form.
        needs: Columns beyond truth and score. Without them the metric does not exist.
        reached: False where the value of a perfect prediction depends on the rows.
        weighted: ``weighted(rows, weights)`` gives (draws,) values for weights (draws, n), NaN
            where the metric does not exist. Give this or ``function``.
        condition: What rows must have for the metric to exist, for the message where they do not:
            "rows of every class".
        within_folds: Whether ``weighted`` compares scores of one fold alone and reads the folds of
            all repeats itself. False: it is computed for each repeat, and the mean is taken.

    Raises:
        UnsupportedOptionError: Where both functions are given, or neither.

    Example:
        >>> import numpy as np
        >>> from etab.metrics import METRICS
        >>> columns = {"truth": np.array([50.0, 60.0]), "score": np.array([52.0, 59.0])}
        >>> METRICS["mae"](columns, np.array(["p1", "p2"]))
        1.5
    """

    name: str
    title: str
    kinds: frozenset[Kind]
    better: int
    best: float
    worst: float
    unit: str = ""
    function: Plain | None = None
    needs: frozenset[str] = frozenset()
    reached: bool = True
    weighted: Weighted | None = None
    condition: str = ""
    within_folds: bool = False

    def __post_init__(self) -> None:
        """Refuse a metric with two functions or with none."""
        if (self.function is None) == (self.weighted is None):
            given = "neither" if self.function is None else "both"
            raise UnsupportedOptionError(
                f"The metric {self.name!r} has {given} of `function` and `weighted`. Give "
                "`weighted`, or `function` where the metric has no weighted form."
            )

    def __call__(
        self,
        columns: Columns,
        patients: Array,
        kind: Kind | None = None,
        *,
        folds: Array | None = None,
        repeats: Array | None = None,
    ) -> float:
        """Compute the metric.

        Args:
            columns: The prediction table, arrays (n,) by name.
            patients: (n,) names.
            kind: What the scores mean. None: the kind of the metric, or the kind of class scores
                that the table holds.
            folds: (n,) the split that tested each row; None for one fold.
            repeats: (n,) the division into folds of each row; None for one.

        Returns:
            The value in the metric's unit.

        Raises:
            UndefinedError: Where the metric does not exist for these rows. It is never returned as
                0, 0.5 or NaN.
            UnsupportedOptionError: For a kind that the metric does not score.
        """
        check_columns(self.name, columns, patients)
        if self.function is not None and kind is None:
            kind = min(self.kinds)
        kind = self._kind(columns, kind)
        return self.value(ScoredRows(kind, columns, patients, folds, repeats))

    def value(self, rows: ScoredRows) -> float:
        """Compute the metric of rows with folds and repeats.

        Args:
            rows: The table, as ``ScoredRows.of`` takes it from predictions.

        Returns:
            The value in the metric's unit.

        Raises:
            UndefinedError: Where the metric does not exist for these rows. It is never returned as
                0, 0.5 or NaN.
            UnsupportedOptionError: For a kind that the metric does not score.
        """
        check_columns(self.name, rows.columns, rows.patients)
        self._kind(rows.columns, rows.kind)
        absent = sorted(self.needs - set(rows.columns))
        if absent:
            raise UndefinedError(
                f"{self.name} needs the column {absent[0]!r}, which these predictions lack."
            )
        if self.function is None:
            value = float(self.draws(rows, np.ones((1, len(rows))))[0])
        else:
            parts = [rows.select(of_repeat) for of_repeat in rows.of_repeats()]
            value = float(np.mean([self.function(part.columns, part.patients) for part in parts]))
        if np.isnan(value):
            raise UndefinedError(self._undefined(rows.columns, rows.patients))
        return value

    def draws(self, rows: ScoredRows, weights: FloatArray | IntArray) -> FloatArray:
        """Compute the metric under several weightings of the rows.

        Args:
            rows: The table.
            weights: (draws, n), 0 or more. Rows of one patient have the same weight. A metric
                without a weighted form needs whole numbers: each row is repeated that often.

        Returns:
            (draws,) values, NaN where the metric does not exist.
        """
        repeats = rows.of_repeats()
        if len(repeats) == 1 or self.within_folds:
            return self._draws(rows, weights)
        parts = [self._draws(rows.select(part), weights[:, part]) for part in repeats]
        return np.asarray(np.mean(parts, axis=0))

    def _draws(self, rows: ScoredRows, weights: FloatArray | IntArray) -> FloatArray:
        """Values (draws,) of the function itself, without a mean over repeats."""
        if self.weighted is not None:
            return np.asarray(self.weighted(rows, np.asarray(weights, dtype=np.float64)))
        return np.array([self._repeated(rows, row) for row in weights])

    def _repeated(self, rows: ScoredRows, counts: Array) -> float:
        """The plain function of a table in which row i stands ``counts[i]`` times.

        A patient who is drawn twice stands for two patients, since a metric may average over
        patients.
        """
        times = np.asarray(counts, dtype=np.int64)
        index = np.repeat(np.arange(len(rows)), times)
        if self.function is None or not len(index):
            return float("nan")
        first_copy = np.repeat(np.cumsum(times) - times, times)
        copy = np.arange(len(index)) - first_copy
        _, patient = np.unique(rows.patients, return_inverse=True)
        try:
            return float(
                self.function(rows.select(index).columns, patient[index] + copy * len(rows))
            )
        except UndefinedError:
            return float("nan")

    def _kind(self, columns: Columns, kind: Kind | None) -> Kind:
        if kind is not None:
            if kind not in self.kinds:
                raise UnsupportedOptionError(
                    f"{self.name} scores {', '.join(sorted(self.kinds))}; got a table of {kind}."
                )
            return kind
        if len(self.kinds) == 1:
            return next(iter(self.kinds))
        if self.kinds <= CLASS_KINDS:
            return Kind.CLASSES if "score_0" in columns else Kind.BINARY
        raise UnsupportedOptionError(
            f"{self.name} scores {', '.join(sorted(self.kinds))}: pass which of these the table "
            "is, as `kind`."
        )

    def _undefined(self, columns: Columns, patients: Array) -> str:
        """Say why the metric does not exist for these rows."""
        needs = f"it needs {self.condition}" if self.condition else "its value is not a number"
        text = f"{self.name} does not exist for these {len(patients)} rows: {needs}"
        if self.kinds <= CLASS_KINDS and "truth" in columns:
            classes, counts = np.unique(columns["truth"], return_counts=True)
            pairs = zip(counts.tolist(), classes.tolist(), strict=True)
            text += f"; got {', '.join(f'{n} of class {k:g}' for n, k in pairs)}"
        return f"{text}."


METRICS: Registry[Metric] = Registry("metric")


def metric(
    name: str,
    title: str,
    kinds: tuple[Kind, ...],
    *,
    better: int,
    best: float,
    worst: float,
    unit: str = "",
    needs: tuple[str, ...] = (),
    reached: bool = True,
    condition: str = "",
    within_folds: bool = False,
) -> Callable[[Weighted], Metric]:
    """Register the decorated weighted function as a metric.

    The arguments are those of ``Metric``.

    Returns:
        A decorator. The name of the decorated function then stands for the ``Metric``.
    """

    def add(weighted: Weighted) -> Metric:
        item = Metric(
            name,
            title,
            frozenset(kinds),
            better,
            best,
            worst,
            unit,
            needs=frozenset(needs),
            reached=reached,
            weighted=weighted,
            condition=condition,
            within_folds=within_folds,
        )
        METRICS.add(name, item)
        return item

    return add


def ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Divide, with NaN where the denominator is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(denominator > 0, numerator / denominator, np.nan)


def weighted_mean(values: Array, weights: FloatArray) -> FloatArray:
    """Mean of values (n,) under weights (draws, n): (draws,), NaN where all weights are 0."""
    return ratio(weights @ np.asarray(values, dtype=np.float64), weights.sum(axis=1))


def weighted_share(hits: Array, among: Array, weights: FloatArray) -> FloatArray:
    """Mean of ``hits`` (n,) over the rows ``among`` (n,) bool, under weights: (draws,)."""
    return ratio(weights @ (hits * among), weights @ among.astype(np.float64))
