"""Dice and distances of handed-in masks, computed again from the authors' masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from etab.errors import EtabError, ResultError
from etab.leaderboard.admission.findings import Finding, Verdict
from etab.leaderboard.admission.masks import kept_masks, rows_with_masks
from etab.metrics.masks import MASK_COLUMNS, mask_scores
from etab.results import Predictions, Result
from etab.results.masks import masks_path, read_masks
from etab.runs.data import Data
from etab.runs.run import Settings
from etab.tasks.menu import TASKS
from etab.types import Kind

_TOLERANCE = 1e-6  # tables are written with 7 significant digits


def remeasured(results: Iterable[Result], folder: Path, root: Path | None) -> Iterator[Finding]:
    """Compute the scores of masks again and find results that state others.

    Args:
        results: Results whose masks have been checked against their digests. Those of other kinds,
            and those without masks, are passed over.
        folder: The folder of results.
        root: Folder of the data; None for the documented places.

    Yields:
        A finding against each result whose masks do not give its scores, or whose data are not
        those at hand.
    """
    cells = [result for result in results if TASKS[result.task].kind is Kind.MASK]
    tasks = tuple(sorted({code for cell in cells for code in TASKS[cell.task].parts}))
    data = Data(Settings(root=root, tasks=tasks))
    for result in cells:
        try:
            reason = _other_scores(result, folder, data)
        except EtabError as error:
            reason = f"its masks cannot be scored: {error}"
        if reason:
            path = result.path(folder)
            yield Finding(Verdict.REFUSED, path, result.task, result.backbone, reason)


def _other_scores(result: Result, folder: Path, data: Data) -> str:
    """Why the masks of a result do not give its scores; empty where they do."""
    keep = kept_masks(result, folder)
    if keep == "none":
        return ""
    if data.digest(result.dataset) != result.data_digest:
        raise ResultError(
            f"its data_digest begins with {result.data_digest[:12]}, that of the data at hand with "
            f"{data.digest(result.dataset)[:12]}."
        )
    table = result.predictions(folder)
    rows = rows_with_masks(table, keep)
    masks = read_masks(masks_path(result.path(folder), keep), len(rows))
    task = TASKS[result.task]
    truth = data.rows(task)
    outlines = data.outlines(task)
    row_of = {item: i for i, item in enumerate(truth.items)}
    for row, mask in zip(rows, masks, strict=True):
        item = table.items[row]
        if item not in row_of:
            return f"{item} is not a row of {result.task} in the data at hand"
        known = row_of[item]
        scores = mask_scores(outlines[known], mask, spacing=truth.spacing[known] or (1.0, 1.0))
        reason = _differing(table, row, scores)
        if reason:
            return reason
    return ""


def _differing(table: Predictions, row: int, scores: dict[str, float]) -> str:
    """The first score of a row that is not the stated one; empty where all are."""
    for name in MASK_COLUMNS:
        stated = float(table.columns[name][row])
        if not np.isclose(stated, scores[name], rtol=_TOLERANCE, atol=_TOLERANCE):
            return (
                f"it states {name} {stated:.6g} for {table.items[row]}; its mask gives "
                f"{scores[name]:.6g}"
            )
    return ""
