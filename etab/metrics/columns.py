"""The columns of a prediction table, as metrics read them.

Every metric reads a table with one row per prediction:

* ``truth`` and ``score`` for values and for two classes (the score is the probability of the second
  class),
* ``truth`` and ``score_0``, ``score_1``, ... for several classes,
* one column per measure (``dice``, ``hd95``, ...) for masks and for states, which are compared
  frame by frame before.

The kind of the task says which of these a table holds; nothing is guessed from the names of
columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from etab.errors import UndefinedError
from etab.metrics.shared import distinct, frozen, parts_of, parts_of_both, taken
from etab.results import Predictions
from etab.types import Array, FloatArray, IntArray, Kind

Columns = Mapping[str, FloatArray]

CLASS_KINDS = frozenset({Kind.BINARY, Kind.CLASSES})


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Rows of a prediction table with their kind, patients and folds, as a weighted metric reads.

    Args:
        kind: What a score means.
        columns: Arrays of (n,) numbers by name.
        patients: (n,) names. Rows of one patient are not independent of each other.
        folds: (n,) the name or number of the split that tested each row. Scores of two folds come
            from two fits and need not lie on one scale. None: all rows are of one fold.
        repeats: (n,) the number of the division into folds that each row belongs to. None: all
            rows belong to one division.
        checked: Whether the columns are known to have n finite numbers each. Only rows of a table
            of predictions are, since making the table checks it.

    Example:
        >>> import numpy as np
        >>> columns = {"truth": np.zeros(4), "score": np.ones(4)}
        >>> names = np.array(["p1", "p2", "p1", "p2"])
        >>> repeats = np.array([0, 0, 1, 1])
        >>> rows = ScoredRows(Kind.VALUE, columns, names, repeats=repeats)
        >>> [part.tolist() for part in rows.of_repeats()]
        [[0, 1], [2, 3]]
    """

    kind: Kind
    columns: Columns
    patients: Array
    folds: Array | None = None
    repeats: Array | None = None
    checked: bool = field(default=False, kw_only=True)

    @classmethod
    def of(cls, table: Predictions) -> ScoredRows:
        """Take the rows of a table of predictions; folds are numbered in the order of names."""
        return cls(
            table.kind,
            table.columns,
            _array_of(table.patients),
            _codes_of(table.folds),
            _array_of(table.repeats),
            checked=True,
        )

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.patients)

    def __getitem__(self, name: str) -> FloatArray:
        """Return a column (n,); raises UndefinedError where the table lacks it."""
        if name not in self.columns:
            have = ", ".join(self.columns)
            raise UndefinedError(
                f"A metric reads the column {name!r}, which these predictions lack; "
                f"they hold {have}."
            )
        return self.columns[name]

    @property
    def n_classes(self) -> int:
        """Count the classes; 2 for BINARY."""
        return n_classes(self.kind, self.columns)

    def select(self, rows: Array) -> ScoredRows:
        """Return some of the rows, by a boolean mask (n,) or by indexes, which may repeat."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        folds = None if self.folds is None else taken(self.folds, rows)
        repeats = None if self.repeats is None else taken(self.repeats, rows)
        patients = taken(self.patients, rows)
        return ScoredRows(self.kind, columns, patients, folds, repeats, checked=self.checked)

    def of_repeats(self) -> list[IntArray]:
        """Indexes of the rows of each repeat, in the order of the repeats."""
        if self.repeats is None:
            return [np.arange(len(self))]
        return parts_of(self.repeats)

    def of_folds(self) -> list[IntArray]:
        """Indexes of the rows of each fold of each repeat."""
        if self.folds is None:
            return self.of_repeats()
        if self.repeats is None:
            return parts_of(self.folds)
        return parts_of_both(self.repeats, self.folds)


@lru_cache(maxsize=256)
def _array_of(values: tuple[str, ...] | tuple[int, ...]) -> Array:
    """The values as an array, made once for the tables of all backbones; it is read-only."""
    return frozen(np.array(values))


@lru_cache(maxsize=256)
def _codes_of(values: tuple[str, ...]) -> IntArray:
    """The index of each value among the sorted distinct ones, made once for all backbones."""
    _, codes = np.unique(np.array(values), return_inverse=True)
    return frozen(codes)


def n_classes(kind: Kind, columns: Columns) -> int:
    """Count the classes that a table has scores for.

    Args:
        kind: BINARY or CLASSES.
        columns: The table.
    """
    if kind is Kind.BINARY:
        return 2
    return sum(name.startswith("score_") for name in columns)


def class_scores(kind: Kind, columns: Columns) -> FloatArray:
    """Stack the scores of a table of classes.

    Args:
        kind: BINARY or CLASSES.
        columns: The table, with ``score`` or ``score_0``, ``score_1``, ...

    Returns:
        (n, classes) probabilities; for BINARY those of the first and of the second class.
    """
    if kind is Kind.BINARY:
        return two_classes(columns["score"])
    parts = [columns[f"score_{k}"] for k in range(n_classes(kind, columns))]
    return np.stack(parts, axis=1)


def score_columns(kind: Kind, scores: FloatArray) -> dict[str, FloatArray]:
    """Name the scores of a head as the columns of a table.

    Args:
        kind: What the head predicts: BINARY, CLASSES or VALUE.
        scores: (n, classes) for CLASSES, otherwise (n,).
    """
    if kind is Kind.CLASSES:
        return {f"score_{k}": scores[:, k] for k in range(scores.shape[1])}
    return {"score": scores}


def two_classes(probability: Array) -> FloatArray:
    """Probabilities (n, 2) of both classes from those (n,) of the second one."""
    p = np.asarray(probability, dtype=np.float64)
    return np.stack([1 - p, p], axis=1)


def check_columns(name: str, columns: Columns, patients: Array) -> None:
    """Refuse a table that cannot be scored.

    Args:
        name: The metric, for the message.
        columns: The table.
        patients: (n,) names.

    Raises:
        UndefinedError: For no rows, columns of different lengths, or values that are not finite.
    """
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


def per_patient(values: FloatArray, patients: Array) -> tuple[Array, FloatArray]:
    """Mean over the rows of each patient.

    Args:
        values: (n,) numbers.
        patients: (n,) names.

    Returns:
        The sorted names (patients,) and the means (patients,).
    """
    names, inverse, counts = distinct(patients)
    return names, np.bincount(inverse, weights=values) / counts
