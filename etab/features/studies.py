"""Several views of a patient as one row: the ED and the ES frame of every view side by side.

A view that a patient does not have is masked. Its frame numbers are ``ABSENT_FRAME``, and the
tokens of its frames are marked as absent. In its place, a head of pooled features reads the mean
of the views that the patient does have. That mean uses no other patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from etab.datasets.base import Source
from etab.errors import LayoutError, skippable
from etab.features.base import register_input
from etab.features.frames import FrameInput, record_rows
from etab.features.store import FrameKey
from etab.tasks.base import Task
from etab.tasks.rows import Rows, stack
from etab.types import Array, Features, FloatArray, IntArray, Record

ABSENT_FRAME = -1
"""Frame number of a view that a patient does not have."""

_PHASES = 2


@dataclass(frozen=True, slots=True)
class _View:
    """One recording of a patient, with its frames and its reference value."""

    record: Record
    frames: tuple[int, int]
    value: float


@register_input("views")
class StudyInput(FrameInput):
    """The ED and ES frames of every view of a patient."""

    def rows(self, task: Task, source: Source, keys: Sequence[FrameKey]) -> Rows:
        """Build a row for each patient with at least one view.

        Args:
            task: The task.
            source: The source of the recordings.
            keys: The frames, as ``keys`` lists them.
        """
        self.check(task, source.card)
        return study_rows(task, source, keys)

    def pick(self, features: Features, rows: Rows, *, maps: bool, sequences: bool) -> Features:
        """Lay the pooled features of the frames of each patient side by side.

        Args:
            features: The features of all frames.
            rows: The rows of the task.
            maps: Not used: a row of several frames has no maps.
            sequences: Not used: single frames have no sequences.
        """
        return study_features(features, rows)


def study_rows(task: Task, source: Source, frames: Sequence[FrameKey]) -> Rows:
    """Build the rows of a task on patients with several views.

    Args:
        task: The task; its views give the order of the frames in a row.
        source: The data.
        frames: The embedded frames: (record, frame number).

    Returns:
        The rows. The columns of ``Rows.frames`` are the ED frames of all views, then their ES
        frames; ``ABSENT_FRAME`` where a patient has no such view.

    Raises:
        LayoutError: The data hold no row at all.
    """
    views_of, missing = _views_by_patient(task, source)
    index = {(record.id, number): i for i, (record, number) in enumerate(frames)}
    patients: list[str] = []
    for patient, views in views_of.items():
        values = sorted({view.value for view in views.values()})
        if len(values) == 1:
            patients.append(patient)
            continue
        listed = ", ".join(f"{value:g}" for value in values)
        missing.append((patient, f"the views differ in {task.target}: {listed}"))
    if not patients:
        reason = missing[0][1] if missing else "no recording of these views"
        raise LayoutError(
            f"{source.root} has no row for {task.code} "
            f"({task.target}, {', '.join(task.views)}): {reason}. "
            f"Run `{source.check_command()}`."
        )
    # The first view that a patient has stands for the row.
    first = [next(iter(views_of[patient].values())) for patient in patients]
    kind = source.card.target(task.target).kind
    return Rows(
        items=tuple(_item(views_of[patient], patient) for patient in patients),
        patients=np.array(patients),
        parts=np.array([view.record.split for view in first]),
        frames=np.array([_columns(task, views_of[patient], index) for patient in patients]),
        answers=stack(kind, [view.value for view in first]),
        spacing=(None,) * len(patients),
        missing=tuple(missing),
        records=tuple(view.record.id for view in first),
        units=tuple(patients),
    )


def _views_by_patient(
    task: Task, source: Source
) -> tuple[dict[str, dict[str, _View]], list[tuple[str, str]]]:
    """Collect the complete views of each patient, in the order of the task, and what is missing.

    Of two recordings of one view the first counts.
    """
    of_view: dict[str, dict[str, _View]] = {name: {} for name in task.views}
    missing: list[tuple[str, str]] = []
    for record in source.records():
        if record.view not in of_view:
            continue
        with skippable():
            rows = record_rows(task, source, record)
        if not rows:
            missing.append((record.id, f"no {task.target} or no ED/ES frame is given"))
            continue
        numbers, value = rows[0]
        view = _View(record, (numbers[0], numbers[1]), value)
        of_view[record.view].setdefault(record.patient, view)
    patients = sorted({patient for views in of_view.values() for patient in views})
    by_patient: dict[str, dict[str, _View]] = {}
    for patient in patients:
        by_patient[patient] = {
            name: views[patient] for name, views in of_view.items() if patient in views
        }
    return by_patient, missing


def _item(views: Mapping[str, _View], patient: str) -> str:
    """Name a row by its patient and the frames of each view."""
    parts = [f"{name}:{view.frames[0]}+{view.frames[1]}" for name, view in views.items()]
    return f"{patient}#{','.join(parts)}"


def _columns(
    task: Task, views: Mapping[str, _View], index: Mapping[tuple[str, int], int]
) -> list[int]:
    """List the embedded frames of a patient: the ED frame of each view, then the ES frames."""
    columns: list[int] = []
    for phase in range(_PHASES):
        for name in task.views:
            if name in views:
                view = views[name]
                columns.append(index[view.record.id, view.frames[phase]])
            else:
                columns.append(ABSENT_FRAME)
    return columns


def study_features(features: Features, rows: Rows) -> Features:
    """Lay the pooled features of the frames of each row side by side.

    Args:
        features: Features with one row for each frame.
        rows: The rows of a task, as from ``study_rows``.

    Returns:
        Pooled features (n, 2 v d) of v views: the ED frames, then the ES frames. ``frames`` is 2,
        since a head may add and subtract the two halves.
    """
    pooled = {
        key: _side_by_side(np.asarray(values), rows.frames)
        for key, values in features.pooled.items()
    }
    return Features(pooled=pooled, pca=features.pca, frames=_PHASES)


def _side_by_side(values: Array, frames: IntArray) -> FloatArray:
    """Lay the features (n, d) of frames (rows, 2 v) side by side, (rows, 2 v d)."""
    n_views = frames.shape[1] // _PHASES
    blocks: list[FloatArray] = []
    for phase in range(_PHASES):
        numbers = frames[:, phase * n_views : (phase + 1) * n_views]
        is_present = (numbers != ABSENT_FRAME)[..., None]
        of_views = np.where(is_present, values[numbers], 0)
        mean = of_views.sum(axis=1, keepdims=True) / is_present.sum(axis=1, keepdims=True)
        filled = np.where(is_present, of_views, mean).astype(values.dtype)
        blocks.append(filled.reshape(len(frames), -1))
    return np.concatenate(blocks, axis=1)
