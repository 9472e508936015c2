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
from dataclasses import dataclass

import numpy as np

from etab.errors import UndefinedError
from etab.types import Array, FloatArray, Kind

Columns = Mapping[str, FloatArray]

CLASS_KINDS = frozenset({Kind.BINARY, Kind.CLASSES})


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Rows of a prediction table with their kind and patients: what a weighted metric reads.

    Args:
        kind: What a score means.
        columns: Arrays of (n,) numbers by name.
        patients: (n,) names. Rows of one patient are not independent of each other.
    """

    kind: Kind
    columns: Columns
    patients: Array

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
        return ScoredRows(self.kind, columns, self.patients[rows])


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
    names, inverse, counts = np.unique(patients, return_inverse=True, return_counts=True)
    return names, np.bincount(inverse, weights=values) / counts
