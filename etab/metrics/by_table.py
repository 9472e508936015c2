"""Values of metrics of many tables, as wholes and fold by fold, computed at once.

Where the numbers that a metric adds up are of each row alone (``Metric.by_row``), the tables of many
backbones are one long table, whose rows are added up for each fold of each backbone. Areas under
curves sort the rows of all tables at once (``Metric.forms``). The values equal those of
``Metric.value`` up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etab.errors import UnsupportedOptionError
from etab.metrics.base import METRICS, Metric
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import FormsOfTables, Sums, Units
from etab.metrics.shared import distinct, frozen, once, positions
from etab.types import Array, FloatArray, IntArray

_ROWS_AT_ONCE = 1 << 15
_NO_TRUTH = np.zeros(0)


@dataclass(frozen=True, slots=True)
class ValuesOfTable:
    """A metric of one table.

    Attributes:
        whole: Its value, NaN where it does not exist.
        of_folds: The value of each fold of each repeat by the number of its first row; empty for a
            metric that does not follow from its folds.
    """

    whole: float
    of_folds: Mapping[int, float]


def values_by_table(
    names: Iterable[str], tables: Sequence[ScoredRows]
) -> list[dict[str, ValuesOfTable]]:
    """Compute metrics of several tables and of their folds.

    Args:
        names: Names of metrics.
        tables: Tables of one kind with the same columns, patients, folds, repeats and truth.

    Returns:
        For each table its values by the name of the metric, without those that need a table each.

    Example:
        >>> from etab.types import Kind
        >>> names = np.array(["p1", "p2"])
        >>> tables = []
        >>> for error in (1.0, 3.0):
        ...     columns = {"truth": np.zeros(2), "score": np.array([error, 0.0])}
        ...     tables.append(ScoredRows(Kind.VALUE, columns, names, folds=names))
        >>> [values["mae"].whole for values in values_by_table(["mae"], tables)]
        [0.5, 1.5]
        >>> values_by_table(["mae"], tables)[1]["mae"].of_folds
        {0: 3.0, 1: 0.0}
    """
    wanted = [METRICS[name] for name in names if name in METRICS]
    computed: list[dict[str, ValuesOfTable]] = []
    step = max(_ROWS_AT_ONCE // max(len(tables[0]), 1), 1) if tables else 1
    for start in range(0, len(tables), step):
        computed += _values(wanted, tables[start : start + step])
    return computed


def _values(
    metrics: Sequence[Metric], tables: Sequence[ScoredRows]
) -> list[dict[str, ValuesOfTable]]:
    first = tables[0]
    parts = first.of_folds()
    first_rows = [int(part[0]) for part in parts]
    long = [_LongTable.of(tables, folds) for folds in _by_repeat(first, parts)]
    values: list[dict[str, ValuesOfTable]] = [{} for _ in tables]
    for metric in metrics:
        if not _is_of(metric, first):
            continue
        together = metric.prepared_together(tables, Units.single_rows(len(first)))
        if together is not None:
            areas = _areas(together, first_rows if metric.within_folds else [])
            for of_table, area in zip(values, areas, strict=True):
                of_table[metric.name] = area
        if not metric.by_row:
            continue
        of_repeats = [table.values(metric) for table in long]
        wholes = np.mean([whole for whole, _ in of_repeats], axis=0).tolist()
        folds = np.concatenate([of_folds for _, of_folds in of_repeats], axis=1).tolist()
        for of_table, whole, of_folds in zip(values, wholes, folds, strict=True):
            of_first_rows = dict(zip(first_rows, of_folds, strict=True))
            of_table[metric.name] = ValuesOfTable(whole, of_first_rows)
    return values


def _is_of(metric: Metric, rows: ScoredRows) -> bool:
    """Whether a metric scores tables of this kind with these columns."""
    return rows.kind in metric.kinds and not metric.needs - set(rows.columns)


def _areas(forms: FormsOfTables, first_rows: Sequence[int]) -> Iterator[ValuesOfTable]:
    """The values of each table, and those of its folds where their first rows are given."""
    wholes = forms.values().tolist()
    if not first_rows:
        yield from (ValuesOfTable(whole, {}) for whole in wholes)
        return
    for whole, of_folds in zip(wholes, forms.values_of_parts().tolist(), strict=True):
        yield ValuesOfTable(whole, dict(zip(first_rows, of_folds, strict=True)))


def _by_repeat(rows: ScoredRows, parts: Sequence[IntArray]) -> Iterator[list[IntArray]]:
    """The folds of each repeat, in the order of ``of_folds``."""
    for of_repeat in rows.of_repeats():
        members = set(of_repeat.tolist())
        yield [part for part in parts if int(part[0]) in members]


def tables_alike(tables: Sequence[ScoredRows]) -> Iterator[list[int]]:
    """Group tables with the same patients, folds, repeats and truth in the same columns.

    Args:
        tables: Tables as ``ScoredRows.of`` takes them from predictions.

    Yields:
        Places in ``tables``, so many at once that their rows are one table of moderate length.
    """
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, rows in enumerate(tables):
        # Tables of one task share these arrays, so their addresses identify them.
        shared = (id(rows.patients), id(rows.folds), id(rows.repeats))
        truth = rows.columns.get("truth", _NO_TRUTH)
        key = (rows.kind, tuple(rows.columns), truth.tobytes(), *shared)
        groups.setdefault(key, []).append(place)
    for places in groups.values():
        step = max(_ROWS_AT_ONCE // max(len(tables[places[0]]), 1), 1)
        for start in range(0, len(places), step):
            yield places[start : start + step]


def sums_by_table(
    name: str, tables: Sequence[ScoredRows], order: Array, rows: IntArray
) -> list[Sums] | None:
    """Prepare a metric of several tables for weightings of their patients, all tables at once.

    Args:
        name: Name of the metric in ``METRICS``.
        tables: Tables that ``tables_alike`` puts together.
        order: The sorted names of the patients.
        rows: Indexes of the rows that count, of one repeat.

    Returns:
        The form of each table, as ``Metric.prepared`` gives it of these rows; None for a metric
        that does not add up numbers of rows.
    """
    metric = METRICS[name]
    first = tables[0]
    if not metric.by_row or not _is_of(metric, first):
        return None
    long = _LongTable.of(tables, [rows])
    of_tables = _units_of_tables(positions(order, first.patients), rows, len(order), len(tables))
    form = metric.prepared(long.rows, of_tables)
    if not isinstance(form, Sums):
        return None
    values = form.values.reshape(len(tables), len(order), -1)
    return [Sums(of_table, form.from_totals) for of_table in values]


def _units_of_tables(places: IntArray, rows: IntArray, n: int, n_tables: int) -> Units:
    """The unit of each row of several tables: each of the n patients of each table is one."""
    of_table = np.arange(n_tables)[:, None] * n
    return Units((places[rows] + of_table).ravel(), n * n_tables)


def without_each_by_table(forms: Sequence[Sums]) -> FloatArray:
    """Compute metrics without one patient, for each patient.

    Args:
        forms: What ``sums_by_table`` prepared together.

    Returns:
        (tables, patients), each row as ``Sums.without_each`` gives it.
    """
    values = np.stack([form.values for form in forms])
    nothing = np.zeros((len(values), 1, values.shape[2]))
    before = np.cumsum(np.concatenate([nothing, values[:, :-1]], axis=1), axis=1)
    after = np.cumsum(np.concatenate([nothing, values[:, :0:-1]], axis=1), axis=1)[:, ::-1]
    totals = (before + after).reshape(-1, values.shape[2]).T
    return forms[0].from_totals(totals).reshape(values.shape[:2])


@once
def _people(patients: Array, tables: IntArray, *folds: IntArray) -> IntArray:
    """The number of the patient of each row of a long table; each table has patients of its own."""
    names, of_row, _ = distinct(patients)
    of_table = of_row[np.concatenate(folds)]
    return frozen((of_table + tables[:, None] * len(names)).ravel())


@dataclass(frozen=True, slots=True)
class _LongTable:
    """The rows of one repeat of several tables, one after the other, each ordered by folds.

    Attributes:
        rows: The rows. A patient of one table is another one than that of the next.
        starts: Where each fold of each table begins.
        n_tables: Number of tables.
    """

    rows: ScoredRows
    starts: IntArray
    n_tables: int

    @classmethod
    def of(cls, tables: Sequence[ScoredRows], folds: Sequence[IntArray]) -> _LongTable:
        """Join tables whose rows of one repeat are in these folds."""
        first = tables[0]
        order = np.concatenate(folds)
        columns = {
            name: np.concatenate([table.columns[name][order] for table in tables])
            for name in first.columns
        }
        numbers = Units.single_rows(len(tables)).of_row
        lengths = np.array([len(fold) for fold in folds])
        in_table = np.cumsum(lengths) - lengths
        starts = (in_table + numbers[:, None] * len(order)).ravel()
        patients = _people(first.patients, numbers, *folds)
        rows = ScoredRows(first.kind, columns, patients, checked=True)
        return cls(rows, starts, len(tables))

    def values(self, metric: Metric) -> tuple[FloatArray, FloatArray]:
        """Compute a metric of each table (tables,) and of each of its folds (tables, folds)."""
        form = metric.prepared(self.rows, Units.single_rows(len(self.rows)))
        if not isinstance(form, Sums):
            raise UnsupportedOptionError(
                f"The metric {metric.name!r} is registered with `by_row` and adds up no numbers of "
                "rows. Leave `by_row` out."
            )
        totals = np.add.reduceat(form.values, self.starts, axis=0)
        of_folds = form.from_totals(totals.T).reshape(self.n_tables, -1)
        of_tables = totals.reshape(self.n_tables, of_folds.shape[1], -1).sum(axis=1)
        return form.from_totals(of_tables.T), of_folds
