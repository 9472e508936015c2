"""Whether the masks beside a record are those that it was made from."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from etab.errors import ResultError
from etab.leaderboard.admission.files import unsafe
from etab.results import Predictions, Result
from etab.results.masks import (
    LARGEST_MASKS,
    Keep,
    joint_digest,
    mask_digest,
    masks_path,
    read_masks,
    sample_rows,
)
from etab.types import Array, Kind

_KEPT: tuple[Keep, ...] = ("all", "sample")


def rows_with_masks(table: Predictions, keep: Keep) -> list[int]:
    """List the rows of a table whose masks a file holds, in the order of the file.

    Args:
        table: The predictions of a cell.
        keep: "all" for every row, otherwise the stated sample.
    """
    if keep == "all":
        return list(range(len(table.items)))
    return sample_rows(table.items, table.repeats)


def kept_masks(result: Result, folder: Path) -> Keep:
    """Tell which masks of a cell lie in a folder: "all", "sample" or "none".

    Args:
        result: The record.
        folder: The folder of results.

    Returns:
        "all" where the masks of every row are there, whatever lies beside them.
    """
    record = result.path(folder)
    for keep in _KEPT:
        if _is_there(masks_path(record, keep)):
            return keep
    return "none"


def other_masks(result: Result, table: Predictions, folder: Path) -> str:
    """Say why the masks of a cell cannot be those that its record was made from.

    The files are read without the data: they must be whole, hold a mask for each of their rows,
    have the digests that the record states, and be empty exactly where Dice is 0 for want of an
    overlap that an empty mask cannot have.

    Args:
        result: The record.
        table: Its predictions.
        folder: The folder of results.

    Returns:
        The reason; empty where nothing is wrong, or there are no masks.
    """
    keep = kept_masks(result, folder)
    if table.kind is not Kind.MASK:
        if keep == "none" and not result.masks:
            return ""
        return f"it has masks beside it; a cell of {table.kind} has none"
    reason = _other_sample(result, table)
    if reason or keep == "none":
        return reason
    if not result.masks:
        return "masks lie beside it, and it states no digest of them"
    for each in _KEPT:
        reason = _other_file(result, table, masks_path(result.path(folder), each), each)
        if reason:
            return reason
    return ""


def _other_file(
    result: Result,
    table: Predictions,
    path: Path,
    keep: Keep,
) -> str:
    """Why a file of masks is not the one of a record; empty where it is, or is absent."""
    if not _is_there(path):
        return ""
    reason = unsafe(path, LARGEST_MASKS)
    if reason:
        return f"its masks {path.name} must not be read: {reason}"
    rows = rows_with_masks(table, keep)
    try:
        return _other_digests(result, table, rows, read_masks(path, len(rows)))
    except ResultError as error:
        return str(error).rstrip(".")


def _is_there(path: Path) -> bool:
    return os.path.lexists(path)


def _other_sample(result: Result, table: Predictions) -> str:
    """Why the record does not name the rows of the sample; empty where it does, or names none."""
    if not result.masks:
        return ""
    rows = sample_rows(table.items, table.repeats)
    wanted = [[table.items[i], table.repeats[i]] for i in rows]
    if [row[:2] for row in result.masks["sample"]] == wanted:
        return ""
    return f"the sample of its masks is not of the {len(wanted)} rows that the rule selects"


def _other_digests(
    result: Result,
    table: Predictions,
    rows: list[int],
    masks: Iterable[Array],
) -> str:
    """Why masks are not those of the record."""
    digests: list[str] = []
    for row, mask in zip(rows, masks, strict=True):
        if not mask.any() and table.columns["dice"][row] > 0:
            return (
                f"the mask of {table.items[row]} is empty, and its dice is "
                f"{table.columns['dice'][row]:g}"
            )
        digests.append(mask_digest(mask))
    if len(rows) == len(table.items) and joint_digest(digests) != result.masks["sha256"]:
        return "the masks beside it are not those that it was made from (sha256 differs)"
    digest_of = dict(zip(rows, digests, strict=True))
    for (item, _, stated), row in zip(
        _sample(result.masks), sample_rows(table.items, table.repeats), strict=True
    ):
        if digest_of[row] != stated:
            return f"the mask of {item} has another sha256 than the record states"
    return ""


def _sample(facts: Mapping[str, Any]) -> list[list[Any]]:
    return list(facts["sample"])
