"""Volumes of the left ventricle from the predicted masks of a cell, beside those of the authors' masks.

Volumes of a cell follow the rule of area and length in one view (``etab.echo.volumes.area_length``). Two
cells that differ only in the view, A2C and A4C, also give biplane volumes by discs
(``etab.echo.volumes.biplane_volume``). The rule is the same for both masks. A cell of masks has the
ventricle alone, so that the base is found without the atrium. The authors' masks, their pixel size and
the frames of ED and ES are read from the data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from etab.echo.volumes import (
    LongAxis,
    area_length,
    biplane_volume,
    ejection_fraction,
    long_axis,
)
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
from etab.tasks.words import metric_unit
from etab.types import Array, Kind, Target

_VENTRICLE = "LV_seg"
_PHASES = ("ED", "ES")
_EF_ERRORS = metric_unit("bias", Target("EF", Kind.VALUE, "%"))
FEWEST_PEOPLE = 5
"""Smallest number of people whose volumes have limits of agreement."""


_FOUR_CHAMBER = "-A4-"
_TWO_CHAMBER = "-A2-"

Axis = LongAxis | None  # None where a mask has too few pixels for a long axis


@dataclass(frozen=True, slots=True)
class _Measured:
    """One frame with a predicted mask: its row, its recording, and the ventricle in both masks."""

    row: int
    recording: str
    phase: str
    true: Axis
    predicted: Axis


@dataclass(frozen=True, slots=True)
class _Frame:
    """One frame of the data: its recording and phase, its size in pixels and of one, its ventricle."""

    recording: str
    phase: str
    shape: tuple[int, ...]
    spacing: tuple[float, float]
    axis: Axis


@dataclass(frozen=True, slots=True)
class _MeasuredCell:
    """The frames of a cell, its predictions, and whether the masks of all rows are there."""

    cell: Result
    frames: tuple[_Measured, ...]
    table: Predictions
    whole: bool


@dataclass(frozen=True, slots=True)
class _Volumes:
    """True and predicted volume in ml of one phase of a recording, or of a patient in two views."""

    row: int
    owner: str
    phase: str
    true: float
    predicted: float


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

    Biplane volumes stand with the cell of A4C. They need the cell of A2C with the same backbone,
    head, protocol and seed, and people with one recording in each view.

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
    measure = _Measurer(folder, root, chosen)
    by_name = {_name(cell): cell for cell in chosen}
    for cell in chosen:
        try:
            four = measure.cell(cell)
            found = _one_view(four)
        except EtabError as error:
            yield cell, error
            continue
        code = cell.task.replace(_FOUR_CHAMBER, _TWO_CHAMBER)
        two_chamber = by_name.get((code, *_name(cell)[1:]))
        if code != cell.task and two_chamber is not None:
            with contextlib.suppress(EtabError):  # said where that cell is measured itself
                found += _biplane(measure.cell(two_chamber), four)
        yield cell, found


def _name(cell: Result) -> tuple[str, str, str, str, int]:
    return cell.task, cell.backbone, cell.protocol, cell.head, cell.seed


class _Measurer:
    """Finds the ventricle in the masks of cells; in the authors' masks it is found once."""

    def __init__(self, folder: Path, root: Path | None, cells: Sequence[Result]) -> None:
        tasks = tuple(sorted({cell.task for cell in cells}))
        self._folder = folder
        self._data = Data(Settings(root=root, tasks=tasks))
        self._frames_of: dict[str, Mapping[str, _Frame]] = {}

    def cell(self, cell: Result) -> _MeasuredCell:
        """Measure a cell; raises EtabError where its data or masks are others, or cannot be read."""
        _refuse_other_data(cell, self._data)
        if cell.task not in self._frames_of:
            self._frames_of[cell.task] = _frames_of(cell.task, self._data)
        return _of_cell(cell, self._folder, self._frames_of[cell.task])


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
        frames[item] = _Frame(recording, phase, mask.shape, spacing, _axis(mask, spacing))
    return frames


def _axis(mask: Array, spacing: tuple[float, float]) -> Axis:
    try:
        return long_axis(mask, None, spacing)
    except UndefinedError:
        return None


def _of_cell(cell: Result, folder: Path, frames: Mapping[str, _Frame]) -> _MeasuredCell:
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
            predicted = _axis(mask, frame.spacing)
            measured.append(_Measured(row, frame.recording, frame.phase, frame.axis, predicted))
    return _MeasuredCell(cell, tuple(measured), table, keep == "all")


def _one_view(measured: _MeasuredCell) -> list[Readout]:
    """The read-outs of the volumes by area and length."""
    volumes = [
        _Volumes(
            one.row,
            one.recording,
            one.phase,
            _by_area_and_length(one.true),
            _by_area_and_length(one.predicted),
        )
        for one in measured.frames
    ]
    return _readouts(volumes, measured, "")


def _by_area_and_length(axis: Axis) -> float:
    return 0.0 if axis is None else area_length(axis)


def _biplane(two: _MeasuredCell, four: _MeasuredCell) -> list[Readout]:
    """The read-outs of the volumes by discs, of the people with one frame of a phase in each view."""
    frames_in_two = _by_person(two)
    volumes: list[_Volumes] = []
    for key, frames in _by_person(four).items():
        others = frames_in_two.get(key, [])
        if len(frames) != 1 or len(others) != 1:
            continue
        patient, _, phase = key
        true = _by_discs(others[0].true, frames[0].true)
        predicted = _by_discs(others[0].predicted, frames[0].predicted)
        volumes.append(_Volumes(frames[0].row, patient, phase, true, predicted))
    return _readouts(volumes, replace(four, whole=two.whole and four.whole), "biplane ")


def _by_person(measured: _MeasuredCell) -> dict[tuple[str, int, str], list[_Measured]]:
    """The frames of a cell by patient, division into folds and phase."""
    frames: dict[tuple[str, int, str], list[_Measured]] = {}
    for one in measured.frames:
        patient = measured.table.patients[one.row]
        frames.setdefault((patient, measured.table.repeats[one.row], one.phase), []).append(one)
    return frames


def _by_discs(two: Axis, four: Axis) -> float:
    return 0.0 if two is None or four is None else biplane_volume((two, four))


def _readouts(volumes: Sequence[_Volumes], measured: _MeasuredCell, words: str) -> list[Readout]:
    """The read-outs of volumes at ED, of those at ES, and of the EF of both; the names begin with words."""
    found: list[Readout] = []
    for phase in _PHASES:
        numbers = [(one.row, one.true, one.predicted) for one in volumes if one.phase == phase]
        found += _agreement(f"{words}{phase} volume, ml", "ml", numbers, measured)
    fractions = _fractions(volumes, measured.table)
    found += _agreement(f"{words}EF of masks", _EF_ERRORS, fractions, measured)
    return found


def _fractions(volumes: Sequence[_Volumes], table: Predictions) -> list[tuple[int, float, float]]:
    """Row, true and predicted EF of each owner of volumes at ED and at ES in one division."""
    ends: dict[tuple[str, int], dict[str, _Volumes]] = {}
    for one in volumes:
        ends.setdefault((one.owner, table.repeats[one.row]), {})[one.phase] = one
    fractions = []
    for pair in ends.values():
        if len(pair) < len(_PHASES) or min(pair["ED"].true, pair["ED"].predicted) <= 0:
            continue
        ed, es = pair["ED"], pair["ES"]
        true = ejection_fraction(ed.true, es.true)
        fractions.append((ed.row, true, ejection_fraction(ed.predicted, es.predicted)))
    return fractions


def _agreement(
    title: str, unit: str, numbers: Sequence[tuple[int, float, float]], measured: _MeasuredCell
) -> list[Readout]:
    """The read-outs of (row, true, predicted); over all divisions together unless the table is whole."""
    table = measured.table
    rows = [row for row, _, _ in numbers]
    patients = np.array([table.patients[row] for row in rows])
    if len(set(patients.tolist())) < FEWEST_PEOPLE:
        return []
    columns = {
        "truth": np.array([true for _, true, _ in numbers]),
        "score": np.array([predicted for _, _, predicted in numbers]),
    }
    repeats = np.array([table.repeats[row] for row in rows]) if measured.whole else None
    scored = ScoredRows(Kind.VALUE, columns, patients, repeats=repeats)
    named = readouts(scored, ejection=False, unit=unit, seed=measured.cell.seed)
    return [replace(one, name=f"{title}: {one.name}") for one in named]
