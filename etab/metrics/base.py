"""The definition of a metric, and the registry of metrics.

A metric is a function of rows *and weights*: ``weights`` (draws, n) say how much each of n rows
counts, and the result is one value per draw. The plain value is that of weights 1; a bootstrap over
patients passes how often each patient was drawn, all resamples at once. So a metric is written
once, and its intervals cannot disagree with its value.

The metrics of etab are written as forms (``etab.metrics.forms``), which add up the rows of each
patient once, before any weight is known. Thousands of resamples are then one matrix product.

Where the patients were divided into folds several times, a metric is the mean over these repeats of
its value on all rows of one repeat.

Where a metric has no weighted form (a median), register it by its plain function: a bootstrap then
repeats rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError, UnsupportedOptionError
from etab.metrics.columns import CLASS_KINDS, Columns, ScoredRows, check_columns
from etab.metrics.forms import (
    Form,
    FormsOfTables,
    MakeForm,
    MakeForms,
    RowsOnly,
    Units,
    mean_of_forms,
    mean_of_tables,
)
from etab.metrics.forms import ratio as ratio
from etab.metrics.forms import weighted_mean as weighted_mean
from etab.registry import Registry
from etab.types import Array, FloatArray, IntArray, Kind

Weighted = Callable[[ScoredRows, FloatArray], FloatArray]
Plain = Callable[[Columns, Array], float]

OF_TARGET = "of the target"
"""The unit of a metric whose values are in the unit of what is predicted, as those of an error are."""


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
        unit: The unit, ``OF_TARGET``, or "".
        function: ``function(columns, patients)`` gives the value. Only for a metric that has no
            weighted form. Give this, ``weighted``, ``form`` or ``forms``.
        needs: Columns beyond truth and score. Without them the metric does not exist.
        reached: False where the value of a perfect prediction depends on the rows.
        weighted: ``weighted(rows, weights)`` gives (draws,) values, or NaN, for weights (draws, n).
        condition: What rows must have for the metric to exist, for messages: "rows of every class".
        within_folds: Whether ``weighted`` compares scores of one fold alone and reads the folds of
            all repeats itself. False: it is computed for each repeat, and the mean is taken.
        form: ``form(rows, units)`` prepares the metric for many weightings of patients.
        by_row: Whether ``form`` adds up numbers that a row and the number of rows of its patient
            decide (``etab.metrics.forms.Sums``). Many tables are then computed like one long table.
        forms: ``forms(tables, units)`` prepares the metric of several tables that have the same
            patients, folds, repeats and truth.
        in_logits: Whether the interval of an encoder is symmetric in logits, as that of areas is.
        decides: Whether the metric decides classes from scores itself.
        least: Gives the least variance of the value of one repeat over patients, from its rows.

    Raises:
        UnsupportedOptionError: Where several of ``function``, ``weighted``, ``form`` and ``forms``
            are given, or none.

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
    form: MakeForm | None = None
    by_row: bool = False
    forms: MakeForms | None = None
    in_logits: bool = False
    decides: bool = False
    least: Callable[[ScoredRows], float] | None = None

    def __post_init__(self) -> None:
        """Refuse a metric with several functions or with none."""
        functions = (self.function, self.weighted, self.form, self.forms)
        given = sum(function is not None for function in functions)
        if given != 1:
            raise UnsupportedOptionError(
                f"The metric {self.name!r} has {given or 'none'} of `function`, `weighted`, "
                "`form` and `forms`. Give one: `weighted`, or `function` where the metric has no weighted form."
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

    @property
    def of_decisions(self) -> bool:
        """Whether the metric reads decided classes and not scores.

        Example:
            >>> from etab.metrics import METRICS
            >>> [name for name in ("auroc", "balanced_accuracy", "cost") if METRICS[name].of_decisions]
            ['balanced_accuracy', 'cost']
        """
        return self.decides or "answer" in self.needs

    @property
    def limits(self) -> tuple[float, float]:
        """The lowest and the highest value that the metric can take; infinite where it has none.

        Example:
            >>> from etab.metrics import METRICS
            >>> METRICS["auroc"].limits, METRICS["mae"].limits, METRICS["bias"].limits
            ((0.0, 1.0), (0.0, inf), (-inf, inf))
        """
        if self.better == 0:
            return (-np.inf, np.inf)
        return (min(self.best, self.worst), max(self.best, self.worst))

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
        if not rows.checked or not len(rows):
            check_columns(self.name, rows.columns, rows.patients)
        self._kind(rows.columns, rows.kind)
        absent = sorted(self.needs.difference(rows.columns))
        if absent:
            raise UndefinedError(
                f"{self.name} needs the column {absent[0]!r}, which these predictions lack."
            )
        if self.function is None:
            value = self.prepared(rows, Units.single_rows(len(rows))).value()
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
        return self.prepared(rows, Units.single_rows(len(rows))).draws(np.asarray(weights).T)

    def prepared(self, rows: ScoredRows, units: Units) -> Form:
        """Prepare the metric for weightings of patients.

        Args:
            rows: The table.
            units: The patient of each row; or ``Units.single_rows``, to weigh the rows themselves.

        Returns:
            The metric as a function of weights alone.
        """
        repeats = rows.of_repeats()
        if len(repeats) == 1 or self.within_folds:
            return self._prepared(rows, units)
        parts = [self._prepared(rows.select(part), units.select(part)) for part in repeats]
        return mean_of_forms(parts)

    def prepared_together(self, tables: Sequence[ScoredRows], units: Units) -> FormsOfTables | None:
        """Prepare the metric of several tables for weightings of patients.

        Args:
            tables: One or more tables with the same patients, folds, repeats and truth.
            units: The patient of each row.

        Returns:
            What ``prepared`` gives for each table; None for a metric that has no ``forms``.
        """
        if self.forms is None:
            return None
        repeats = tables[0].of_repeats()
        if len(repeats) == 1 or self.within_folds:
            return self.forms(tables, units)
        parts = []
        for part in repeats:
            of_part = [rows.select(part) for rows in tables]
            parts.append(self.forms(of_part, units.select(part)))
        return mean_of_tables(parts)

    def _prepared(self, rows: ScoredRows, units: Units) -> Form:
        """The form of the metric itself, without a mean over repeats."""
        if self.forms is not None:
            return self.forms([rows], units).form(0)
        if self.form is not None:
            return self.form(rows, units)
        if self.weighted is not None:
            weighted = self.weighted
            return RowsOnly(lambda weights: np.asarray(weighted(rows, weights * 1.0)), units)
        return RowsOnly(
            lambda weights: np.array([self._repeated(rows, row) for row in weights]), units
        )

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
        columns = rows.select(index).columns
        new_patients = patient[index] + copy * len(rows)
        try:
            return float(self.function(columns, new_patients))
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

    Args:
        name: Key in ``METRICS``.
        title: Name in words.
        kinds: The kinds of tables that the metric scores.
        better: 1 where more is better, -1 where less is, 0 where neither is (a bias).
        best: The value of a perfect prediction.
        worst: The worst possible value; may be infinite.
        unit: The unit, ``OF_TARGET``, or "".
        needs: Columns beyond truth and score.
        reached: Whether the value of a perfect prediction is the same for all rows.
        condition: What rows must have for the metric to exist, for messages.
        within_folds: Whether the function compares only scores of one fold, see ``Metric``.

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


def metric_of_patients(
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
    by_row: bool = False,
    decides: bool = False,
    least: Callable[[ScoredRows], float] | None = None,
) -> Callable[[MakeForm], Metric]:
    """Register the decorated form as a metric.

    The decorated function takes rows and the unit of each row, and prepares the metric for any
    weights (``etab.metrics.forms``).

    Args:
        name: Key in ``METRICS``.
        title: Name in words.
        kinds: The kinds of tables that the metric scores.
        better: 1 where more is better, -1 where less is, 0 where neither is (a bias).
        best: The value of a perfect prediction.
        worst: The worst possible value; may be infinite.
        unit: The unit, ``OF_TARGET``, or "".
        needs: Columns beyond truth and score.
        reached: Whether the value of a perfect prediction is the same for all rows.
        condition: What rows must have for the metric to exist, for messages.
        within_folds: Whether the function compares only scores of one fold, see ``Metric``.
        by_row: Whether the numbers that it adds up are of each row alone, see ``Metric``.
        decides: Whether the metric decides classes from scores itself.
        least: The least variance of the value over patients, see ``Metric``.

    Returns:
        A decorator. The name of the decorated function then stands for the ``Metric``.
    """

    def add(form: MakeForm) -> Metric:
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
            condition=condition,
            within_folds=within_folds,
            form=form,
            by_row=by_row,
            decides=decides,
            least=least,
        )
        METRICS.add(name, item)
        return item

    return add


def metric_of_tables(
    name: str,
    title: str,
    kinds: tuple[Kind, ...],
    *,
    better: int,
    best: float,
    worst: float,
    condition: str = "",
    within_folds: bool = False,
    in_logits: bool = False,
) -> Callable[[MakeForms], Metric]:
    """Register the decorated forms of several tables as a metric.

    The decorated function takes tables with the same rows and truth and the unit of each row, and
    prepares the metric of all of them for any weights.

    Args:
        name: Key in ``METRICS``.
        title: Name in words.
        kinds: The kinds of tables that the metric scores.
        better: 1 where more is better, -1 where less is, 0 where neither is (a bias).
        best: The value of a perfect prediction.
        worst: The worst possible value; may be infinite.
        condition: What rows must have for the metric to exist, for messages.
        within_folds: Whether the function compares only scores of one fold, see ``Metric``.
        in_logits: Whether the interval of an encoder is symmetric in logits.

    Returns:
        A decorator. The name of the decorated function then stands for the ``Metric``.
    """

    def add(forms: MakeForms) -> Metric:
        item = Metric(
            name,
            title,
            frozenset(kinds),
            better,
            best,
            worst,
            condition=condition,
            within_folds=within_folds,
            forms=forms,
            in_logits=in_logits,
        )
        METRICS.add(name, item)
        return item

    return add
