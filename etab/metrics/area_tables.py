"""Areas under curves of the tables of many backbones, prepared at once.

The tables have the same rows and truth, so that all of them are sorted as one matrix
(``etab.metrics.sorted_rows``). A metric of one table is that of a list of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from etab.metrics.areas import PairsOfTables, PrecisionOfTables
from etab.metrics.columns import ScoredRows
from etab.metrics.forms import FormsOfTables, Units, mean_of_tables
from etab.metrics.sorted_rows import compared_tables, ranked_tables
from etab.types import Array, FloatArray, IntArray, Kind


def areas(
    kind: type[PairsOfTables] | type[PrecisionOfTables],
    tables: Sequence[ScoredRows],
    parts: Sequence[IntArray],
    units: Units,
) -> FormsOfTables:
    """Prepare the areas of several tables: of the second of two classes, or the mean over classes.

    Args:
        kind: ``PairsOfTables`` for the area under the ROC curve, or ``PrecisionOfTables``.
        tables: One or more tables with the same patients, folds, repeats and truth.
        parts: Indexes of the rows that are compared with each other.
        units: The unit of each row.

    Returns:
        The areas.
    """
    of_classes: list[FormsOfTables] = []
    for positive, scores in _one_against_the_others(tables):
        selected = [(positive[rows], scores[:, rows], units.select(rows)) for rows in parts]
        if kind is PairsOfTables:
            of_classes.append(PairsOfTables([compared_tables(*part) for part in selected], units.n))
        else:
            of_classes.append(
                PrecisionOfTables([ranked_tables(*part) for part in selected], units.n)
            )
    return mean_of_tables(of_classes)


def _one_against_the_others(tables: Sequence[ScoredRows]) -> list[tuple[Array, FloatArray]]:
    """Which rows are of a class, and the scores (tables, n) for it: of the second of two, or each."""
    first = tables[0]
    if first.kind is Kind.BINARY:
        return [(first["truth"] == 1, np.stack([rows["score"] for rows in tables]))]
    return [
        (first["truth"] == k, np.stack([rows[f"score_{k}"] for rows in tables]))
        for k in range(first.n_classes)
    ]
