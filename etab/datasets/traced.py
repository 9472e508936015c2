"""What the sources with tables of videos share: tables by column name, numbers in range, outlines
to masks, phases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etab.errors import CorruptFileError, LayoutError
from etab.readers.table import parse_number
from etab.storage.listing import visible_names
from etab.types import Answer, Array, FloatArray, Record

EF_LIMIT = 50.0


def number_between(
    table: Path,
    row: Mapping[str, str],
    key: str,
    low: float,
    high: float,
    *,
    name: str = "FileName",
) -> float:
    """One number of a row, from ``low`` to ``high``; raises CorruptFileError naming the row by its
    column ``name``.
    """
    value = maybe(row.get(key))
    if value is None or not low <= value <= high:
        raise CorruptFileError(
            f"{table}: {row[name][:80]} has {key} {row[key][:80]!r}; wanted a number from {low:g} "
            f"to {high:g}."
        )
    return value


def maybe(text: str | None) -> float | None:
    """The number that a cell holds; None where it holds none."""
    return parse_number(text)


def check_unique(table: Path, records: Sequence[Record]) -> None:
    """Raise CorruptFileError naming the first recording that is listed twice."""
    names: set[str] = set()
    for record in records:
        if record.id in names:
            raise CorruptFileError(f"{table} lists {record.id} twice. Restore it as published.")
        names.add(record.id)


def check_there(table: Path, folder: Path, names: Iterable[str]) -> None:
    """Raise LayoutError naming the first of the listed videos that ``folder`` does not hold."""
    present = visible_names(folder)
    absent = [name for name in names if name not in present]
    if absent:
        raise LayoutError.of(
            f"{folder / absent[0]} is missing, with {len(absent) - 1} more videos that "
            f"{table.name} lists. "
            "Restore them; without them the scores are of other patients.",
            [str(folder / name) for name in absent],
        )


def filled(x: FloatArray, y: FloatArray, shape: tuple[int, int]) -> Array:
    """Fill an outline, given by its vertices in pixels, in a boolean (h, w) mask.

    As the authors of the EchoNet sets do it: coordinates are rounded, and what lies outside the
    picture is cut off.
    """
    from skimage import draw

    polygon: Any = draw.polygon
    rows, columns = polygon(np.rint(y).astype(int), np.rint(x).astype(int), shape)
    mask = np.zeros(shape, dtype=bool)
    mask[rows, columns] = True
    return mask


def phase_answers(masks: Mapping[int, Array]) -> list[Answer]:
    """ED (0) for the larger and ES (1) for the smaller of two traced frames, in frame order; else
    nothing.
    """
    if len(masks) != 2:
        return []
    first, last = ((frame, int(masks[frame].sum())) for frame in sorted(masks))
    late = int(last[1] > first[1])
    return [Answer(late, first[0]), Answer(1 - late, last[0])]
