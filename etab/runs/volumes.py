"""Volumes of the left ventricle from the predicted masks of a cell, beside those of the authors' masks.

Volumes follow the rule of area and length in one view (``etab.echo.volumes.area_length``) for both
masks alike. A cell of masks has the ventricle alone, so that the base is found without the atrium.
The authors' masks, their pixel size and the frames of ED and ES are read from the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etab.echo.volumes import area_length, ejection_fraction, long_axis
from etab.errors import EtabError, ResultError, UndefinedError
from etab.leaderboard.admission.masks import kept_masks, other_masks, rows_with_masks
from etab.leaderboard.admission.ranges import scorable_predictions
from etab.metrics.clinical import Readout, readouts
from etab.metrics.columns import ScoredRows
from etab.results import Predictions, Result
from etab.results.masks import masks_path, read_masks
from etab.runs.data import Data
from etab.runs.run import Settings
from etab.tasks.menu import TASKS
from etab.types import Array, Kind

_VENTRICLE = "LV_seg"
_PHASES = ("ED", "ES")
FEWEST_PEOPLE = 5
"""Smallest number of people whose volumes have limits of agreement."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """One frame with a predicted mask: its row, its recording, and both volumes in ml."""

    row: int
    recording: str
    phase: str
    true: float
    predicted: float


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame of the data: its recording and phase, its size in pixels and of one, its volume in ml."""

    recording: str
    phase: str
    shape: tuple[int, ...]
    spacing: tuple[float, float]
    volume: float


def has_volumes(cell: Result, folder: Path) -> bool:
    """Whether a cell is of the left ventricle and has masks beside its record.

    Args:
        cell: A result.
        folder: The folder of results.
    """
    task = TASKS[cell.task]
    of_ventricle = task.kind is Kind.MASK and task.target == _VENTRICLE
    return of_ventricle and kept_masks(cell, folder) != "none"


def volumes_of(
    cells: Sequence[Result], folder: Path, root: Path | None
) -> Iterator[tuple[Result, list[Readout] | EtabError]]:
    """Compute bias, limits of agreement and slope of volumes at ED and ES, and of the EF from masks.

    Volumes are in ml, the EF in percentage points. A predicted mask of fewer pixels than a long axis
    needs has 0 ml. An EF needs both frames of a recording in one division into folds, and more than
    0 ml at ED in both masks; other recordings have only volumes. Fewer than five people have no
    read-outs.

    Args:
        cells: Results; those without masks of the left ventricle are passed over. The masks of all
            rows count where they are there, else those of the stated sample.
        folder: The folder of results.
        root: Folder of the data; None for the documented places.

    Yields:
        Each of the other cells with its read-outs, or with what is wrong. There are no read-outs where
        the data tell no pixel size, or no frames of ED and ES.
    """
    chosen = [cell for cell in cells if has_volumes(cell, folder)]
    data = Data(Settings(root=root, tasks=tuple(sorted({cell.task for cell in chosen}))))
    frames_of: dict[str, Mapping[str, _Frame]] = {}
    for cell in chosen:
        try:
            _refuse_other_data(cell, data)
            if cell.task not in frames_of:
                frames_of[cell.task] = _frames_of(cell.task, data)
            yield cell, _of_cell(cell, folder, frames_of[cell.task])
        except EtabError as error:
            yield cell, error


def _refuse_other_data(cell: Result, data: Data) -> None:
    here = data.digest(cell.dataset)
    if here != cell.data_digest:
        raise ResultError(
            f"{cell.task} with {cell.backbone}: volumes need the data of the result, whose digest "
            f"begins with {cell.data_digest[:12]}; that of the data at hand begins with {here[:12]}."
        )


def _frames_of(code: str, data: Data) -> dict[str, _Frame]:
    """The frames of ED and ES with a pixel size, by the names of their rows."""
    task = TASKS[code]
    source = data.source(task.dataset)
    rows = data.rows(task)
    phases = {record.id: source.phases(record) or () for record in source.records()}
    frames: dict[str, _Frame] = {}
    for item, recording, mask, spacing in zip(
        rows.items, rows.records, rows.answers, rows.spacing, strict=True
    ):
        number = int(item.rpartition("#")[2])
        if spacing is None or number not in phases[recording]:
            continue
        phase = _PHASES[phases[recording].index(number)]
        frames[item] = _Frame(recording, phase, mask.shape, spacing, _volume(mask, spacing))
    return frames


def _volume(mask: Array, spacing: tuple[float, float]) -> float:
    """The volume of a mask in ml; 0 where it has too few pixels for a long axis."""
    try:
        return area_length(long_axis(mask, None, spacing))
    except UndefinedError:
        return 0.0


def _of_cell(cell: Result, folder: Path, frames: Mapping[str, _Frame]) -> list[Readout]:
    table = scorable_predictions(cell, folder)
    reason = other_masks(cell, table, folder)
    if reason:
        raise ResultError(f"{cell.task} with {cell.backbone}: {reason}.")
    keep = kept_masks(cell, folder)
    rows = rows_with_masks(table, keep)
    measured: list[_Measured] = []
    masks = read_masks(masks_path(cell.path(folder), keep), len(rows))
    for row, mask in zip(rows, masks, strict=True):
        frame = frames.get(table.items[row])
        if frame is not None:
            if mask.shape != frame.shape:
                raise ResultError(
                    f"{cell.task} with {cell.backbone}: the mask of {table.items[row]} is "
                    f"{mask.shape}, that of the authors {frame.shape}."
                )
            predicted = _volume(mask, frame.spacing)
            measured.append(_Measured(row, frame.recording, frame.phase, frame.volume, predicted))
    found: list[Readout] = []
    for phase in _PHASES:
        of_phase = [one for one in measured if one.phase == phase]
        numbers = [(one.row, one.true, one.predicted) for one in of_phase]
        found += _agreement(f"{phase} volume, ml", numbers, table, keep == "all", cell.seed)
    found += _agreement("EF of masks", _fractions(measured, table), table, keep == "all", cell.seed)
    return found


def _fractions(measured: Sequence[_Measured], table: Predictions) -> list[tuple[int, float, float]]:
    """Row, true and predicted EF of each recording whose frames of ED and ES are in one division."""
    ends: dict[tuple[str, int], dict[str, _Measured]] = {}
    for one in measured:
        ends.setdefault((one.recording, table.repeats[one.row]), {})[one.phase] = one
    fractions = []
    for pair in ends.values():
        if len(pair) < len(_PHASES) or min(pair["ED"].true, pair["ED"].predicted) <= 0:
            continue
        ed, es = pair["ED"], pair["ES"]
        true = ejection_fraction(ed.true, es.true)
        fractions.append((ed.row, true, ejection_fraction(ed.predicted, es.predicted)))
    return fractions


def _agreement(
    title: str,
    numbers: Sequence[tuple[int, float, float]],
    table: Predictions,
    whole: bool,
    seed: int,
) -> list[Readout]:
    """The read-outs of (row, true, predicted); over all divisions together unless the table is whole."""
    rows = [row for row, _, _ in numbers]
    patients = np.array([table.patients[row] for row in rows])
    if len(set(patients.tolist())) < FEWEST_PEOPLE:
        return []
    columns = {
        "truth": np.array([true for _, true, _ in numbers]),
        "score": np.array([predicted for _, _, predicted in numbers]),
    }
    repeats = np.array([table.repeats[row] for row in rows]) if whole else None
    scored = ScoredRows(Kind.VALUE, columns, patients, repeats=repeats)
    named = readouts(scored, ejection=False, seed=seed)
    return [replace(one, name=f"{title}: {one.name}") for one in named]
