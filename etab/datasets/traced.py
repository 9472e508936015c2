"""Shared by sources with tables of videos: numbers in range, masks from outlines, phases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from etab.datasets.absent import files_absent
from etab.errors import CorruptFileError
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
    """Read one number of a row.

    Args:
        table: The file, for messages.
        row: The cells of the row by column.
        key: The column to read.
        low: The smallest value that is possible.
        high: The largest value that is possible.
        name: The column that identifies the row, for messages.

    Raises:
        CorruptFileError: The cell holds no number, or one out of range.
    """
    value = maybe(row.get(key))
    if value is None or not low <= value <= high:
        raise CorruptFileError(
            f"{table}: {row[name][:80]} has {key} {row[key][:80]!r}; wanted a number from {low:g} "
            f"to {high:g}."
        )
    return value


def maybe(text: str | None) -> float | None:
    """Return the number in a cell, or None if it holds no number.

    Args:
        text: The cell; None if the row has no such column.
    """
    return parse_number(text)


def check_unique(table: Path, records: Sequence[Record]) -> None:
    """Check that no recording is listed twice.

    Args:
        table: The file, for messages.
        records: The recordings that it lists.

    Raises:
        CorruptFileError: A recording is listed twice; the message names the first one.
    """
    names: set[str] = set()
    for record in records:
        if record.id in names:
            raise CorruptFileError(f"{table} lists {record.id} twice. Restore it as published.")
        names.add(record.id)


def check_there(
    table: Path,
    folder: Path,
    names: Iterable[str],
) -> None:
    """Check that all listed videos exist.

    Args:
        table: The file that lists them, for messages.
        folder: The folder of videos.
        names: The listed names of files.

    Raises:
        LayoutError: Videos are missing; the message names the first one.
    """
    present = visible_names(folder)
    absent = [name for name in names if name not in present]
    if absent:
        raise files_absent([folder / name for name in absent], "video", f"{table.name} lists")


def filled(
    x: FloatArray,
    y: FloatArray,
    shape: tuple[int, int],
) -> Array:
    """Fill a closed outline, as the authors of the EchoNet data sets do.

    Coordinates are rounded, and parts outside the image are cut off.

    Args:
        x: Horizontal positions (n,) of the vertices, in pixels.
        y: Vertical positions (n,) of the vertices, in pixels.
        shape: Height and width of the image.

    Returns:
        The mask, boolean (h, w).

    Example:
        >>> square = filled(np.array([1, 3, 3, 1]), np.array([1, 1, 3, 3]), (5, 5))
        >>> int(square.sum())
        9
    """
    from skimage import draw

    polygon: Any = draw.polygon
    rows, columns = polygon(np.rint(y).astype(int), np.rint(x).astype(int), shape)
    mask = np.zeros(shape, dtype=bool)
    mask[rows, columns] = True
    return mask


def phase_answers(masks: Mapping[int, Array]) -> list[Answer]:
    """Assign ED (0) to the larger and ES (1) to the smaller of two traced frames.

    Args:
        masks: The mask of each traced frame.

    Returns:
        The answers in frame order; empty unless two frames are traced.
    """
    if len(masks) != 2:
        return []
    first, last = sorted(masks)
    # 1 if the later frame is ED, so that the first is ES.
    late = int(masks[last].sum() > masks[first].sum())
    return [Answer(late, first), Answer(1 - late, last)]
